"""The tables the simulator offers, read from the text files beside this module."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from local.simulator.data.columns import Column, parse_columns

# Not taken from the plugin: the simulator plays the service, and its container has no plugin.
NAMESPACES = ("canvas", "canvas_logs", "catalog", "new_quizzes")


@dataclass(frozen=True)
class TableDefinition:
    """A table as the catalogue has it.

    :param weight: its size relative to a typical table.
    :param duplicates: keys are delivered more than once.
    :param append_only: rows are added, never changed or deleted.
    """

    namespace: str
    name: str
    weight: float
    columns: tuple[Column, ...]
    duplicates: bool = False
    append_only: bool = False


@cache
def default_tables() -> dict[tuple[str, str], TableDefinition]:
    """The tables that are listed when nobody changed anything, by namespace and name."""
    return {(t.namespace, t.name): t for ns in NAMESPACES for t in _read(f"{ns}.txt", ns)}


@cache
def hard_tables() -> dict[tuple[str, str], TableDefinition]:
    """Tables that the official client cannot replicate or only partly; listed after a control call."""
    return {(t.namespace, t.name): t for t in _read("hard.txt", "canvas")}


def parse_definition(namespace: str, name: str, text: str, weight: float = 1.0) -> TableDefinition:
    """A table from the notation of the catalogue: columns and the flags `duplicates`, `append_only`.

    :raises ValueError: the text is not in that notation.
    """
    tokens = text.split()
    flags = {flag for flag in ("duplicates", "append_only") if flag in tokens}
    columns = parse_columns([token for token in tokens if token not in flags])
    return TableDefinition(namespace, name, weight, columns, "duplicates" in flags, "append_only" in flags)


def _read(file_name: str, default_namespace: str) -> list[TableDefinition]:
    text = files(__package__).joinpath(file_name).read_text(encoding="utf-8")
    blocks: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            blocks[-1][1].extend(line.split())
        else:
            blocks.append((line.split(), []))
    tables = []
    for (name, weight, *flags), tokens in blocks:
        namespace, _, table = name.rpartition(".")
        body = " ".join([*flags, *tokens])
        tables.append(parse_definition(namespace or default_namespace, table, body, float(weight)))
    return tables
