"""Write the tables of inputs and outputs into the READMEs of infra/terraform and its modules.

    python -m scripts.terraform_tables

Relies on the layout of `terraform fmt`: a block begins in the first column and ends with a brace in the first column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "infra" / "terraform"
BEGIN, END = "<!-- tables: python -m scripts.terraform_tables -->", "<!-- end of tables -->"
BLOCK = r'(?ms)^{kind} "(\w+)" \{{\n(.*?)^\}}'
ARGUMENT = r"(?ms)^  {name} += (.+?)$(?=\n  \w|\n\n|\n*\Z)"


@dataclass(frozen=True)
class Entry:
    """A variable or an output. `default` is None for a variable that must be set, and for outputs."""

    name: str
    description: str
    type: str = ""
    default: str | None = None


def modules(folder: Path) -> list[Path]:
    """The root module and those below it."""
    return [folder, *sorted(path for path in (folder / "modules").iterdir() if path.is_dir())]


def inputs(module: Path) -> list[Entry]:
    """The variables of a module, in the order of its files."""
    return [
        Entry(name, _text(body), _argument(body, "type") or "", _argument(body, "default"))
        for name, body in _blocks(module, "variable")
    ]


def outputs(module: Path) -> list[Entry]:
    """The outputs of a module."""
    return [Entry(name, _text(body)) for name, body in _blocks(module, "output")]


def tables(module: Path) -> str:
    """The text between the two marks of a README."""
    lines = ["", "| input | type | default | what |", "|---|---|---|---|"]
    for entry in inputs(module):
        default = "(required)" if entry.default is None else f"`{entry.default}`"
        lines.append(f"| `{entry.name}` | `{entry.type}` | {default} | {entry.description} |")
    lines += ["", "| output | what |", "|---|---|"]
    lines += [f"| `{entry.name}` | {entry.description} |" for entry in outputs(module)]
    return "\n".join([*lines, "", ""])


def with_tables(module: Path) -> str:
    """The README of a module with up-to-date tables.

    :raises ValueError: it lacks the marks.
    """
    text = (module / "README.md").read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{module / 'README.md'} lacks the lines {BEGIN} and {END}: the tables belong between them.")
    return f"{before}{BEGIN}\n{tables(module)}{END}{after}"


def outdated(folder: Path) -> list[str]:
    """Names of modules whose README is out of date."""
    return [module.name for module in modules(folder) if with_tables(module) != (module / "README.md").read_text()]


def _blocks(module: Path, kind: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path in sorted(module.glob("*.tf")):
        found += re.findall(BLOCK.format(kind=kind), path.read_text())
    return found


def _argument(body: str, name: str) -> str | None:
    found = re.search(ARGUMENT.format(name=name), body)
    if not found:
        return None
    return (
        re.sub(r"(?<=[({]) | (?=[)}])", "", " ".join(re.sub(r"\n +", ", ", found[1]).split()))
        .replace("{, ", "{")
        .replace(",})", "})")
    )


def _text(body: str) -> str:
    quoted = _argument(body, "description") or '""'
    return quoted[1:-1].replace('\\"', '"').replace("|", "\\|")


def main() -> None:
    """Update the tables of all READMEs."""
    for module in modules(FOLDER):
        (module / "README.md").write_text(with_tables(module))


if __name__ == "__main__":
    main()
