"""Who imports whom in `plugins/cd2`, when it runs: `python -m tests.architecture.imports` prints the longest chain.

Imports inside of functions count, because they run; those below `if TYPE_CHECKING:` do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"


class CircularImport(ValueError):
    """Modules that import each other, so that no chain is the longest."""


def modules(root: Path = PLUGINS, package: str = "cd2") -> dict[str, Path]:
    """Every module of a package, by its dotted name; a package is named without `__init__`."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(found: dict[str, Path]) -> dict[str, set[str]]:
    """For each module, those of the same package that it imports."""
    return {
        name: {target for imported in _imported(path) if (target := _module(imported, found)) and target != name}
        for name, path in found.items()
    }


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """The modules of the longest chain of imports, the one that nobody imports first.

    :raises CircularImport: naming the circle.
    """
    path: list[str] = []

    @cache
    def below(name: str) -> list[str]:
        if name in path:
            raise CircularImport(" -> ".join([*path[path.index(name) :], name]))
        path.append(name)
        longest = max((below(target) for target in sorted(graph[name])), key=len, default=[])
        path.pop()
        return [name, *longest]

    return max((below(name) for name in sorted(graph)), key=len, default=[])


def _imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports; for `from a import b` it is `a.b`, which may be a module or a name of `a`."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            pending += node.orelse
        else:
            pending += ast.iter_child_nodes(node)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _module(imported: str, found: dict[str, Path]) -> str | None:
    """`a.b` itself if it is a module, otherwise the module that the name `b` is taken from."""
    return next((name for name in (imported, imported.rpartition(".")[0]) if name in found), None)


if __name__ == "__main__":
    chain = longest_chain(import_graph(modules()))
    print(f"{len(chain)} modules:\n" + "\n".join(f"{depth:>3}  {name}" for depth, name in enumerate(chain, 1)))
