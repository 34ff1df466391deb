"""Imports run one way, and never through many floors."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.imports import CircularImport, import_graph, longest_chain, modules

REPOSITORY = Path(__file__).parents[2]
LONGEST_CHAIN = 9
GRAPH = import_graph(modules())


def test_the_contracts_of_pyproject_toml_hold() -> None:
    """`[tool.importlinter]`; run `PYTHONPATH=plugins .venv/bin/lint-imports` to see each of them."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "plugins"), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_no_chain_of_imports_is_long() -> None:
    chain = longest_chain(GRAPH)
    print(f"the longest chain of imports has {len(chain)} modules: {' -> '.join(chain)}")
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


def test_the_dag_file_sees_the_tasks_the_settings_and_names_only() -> None:
    allowed = {"cd2", "cd2.settings", "cd2.replication.names"}
    imported = [
        node.module or ""
        for node in ast.walk(ast.parse((REPOSITORY / "dags" / "canvas_data_2.py").read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    ours = {name for name in imported if name.split(".")[0] == "cd2"}
    assert {name for name in ours if not name.startswith("cd2.tasks.")} <= allowed
    assert any(name.startswith("cd2.tasks.") for name in ours)


# -- the count itself ------------------------------------------------------------------------------


def package(folder: Path, **sources: str) -> dict[str, Path]:
    """A package `p` of these modules."""
    (folder / "p").mkdir()
    (folder / "p" / "__init__.py").touch()
    for name, source in sources.items():
        (folder / "p" / f"{name}.py").write_text(source)
    return modules(folder, "p")


def test_an_import_inside_a_function_counts_and_one_for_types_does_not(tmp_path: Path) -> None:
    found = package(
        tmp_path,
        a="def f():\n    from p import b\n",
        b="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.c import X\nelse:\n    import p.d\n",
        c="X = 1\n",
        d="from p.e import name_of_e\n",
        e="name_of_e = 1\n",
    )
    assert longest_chain(import_graph(found)) == ["p.a", "p.b", "p.d", "p.e"]


def test_a_circle_is_named(tmp_path: Path) -> None:
    found = package(tmp_path, a="import p.b\n", b="def f():\n    import p.c\n", c="from p.a import x\n")
    with pytest.raises(CircularImport, match=r"p\.a -> p\.b -> p\.c -> p\.a"):
        longest_chain(import_graph(found))
