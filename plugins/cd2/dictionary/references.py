"""Which columns refer to which tables, and how that is known.

Canvas Data 2 has no foreign keys, and the schemas that DAP delivers name none. What is known comes from constraints
that users created, from Instructure's documentation (`static/references.txt`), from comments, and at last from names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from cd2.dictionary.model import Column, Reference, Table
from cd2.replication.names import TableName

DOCUMENTED = Path(__file__).parent / "static" / "references.txt"

Columns = Mapping[tuple[TableName, str], TableName]

_COMMENT = re.compile(r"foreign key (?:to|for) the `?(\w+)`? (?:table|dataset)", re.IGNORECASE)
"""DAP writes: "Foreign key to the `groups` table."."""
_QUALIFIERS = frozenset(
    {
        *("associated", "child", "consortium", "current", "homeroom", "into", "last", "merged", "nonxlist", "old"),
        *("original", "parent", "real", "replacement", "root", "source", "target", "template"),
    }
)
"""What may stand before the name of a table, as in `real_user_id`."""
_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_FAMILIAR = {"canvas_logs": "canvas"}
"""Where columns of a namespace refer to if not into it."""


def with_references(tables: Sequence[Table], foreign_keys: Columns) -> tuple[Table, ...]:
    """The tables with what their columns refer to.

    :param foreign_keys: what constraints say, by table and column.
    """
    known = {table.name: table for table in tables}
    return tuple(
        replace(
            table,
            columns=tuple(
                replace(column, reference=_reference(table, column, known, foreign_keys)) for column in table.columns
            ),
        )
        for table in tables
    )


def _reference(
    table: Table, column: Column, known: Mapping[TableName, Table], foreign_keys: Columns
) -> Reference | None:
    if target := foreign_keys.get((table.name, column.name)):
        return Reference((target,), "foreign key")
    if targets := documented().get((table.name, column.name)):
        return Reference(targets, "documented")
    if target := _in_comment(table, column, known):
        return Reference((target,), "comment")
    if target := _by_name(table, column, known):
        return Reference((target,), "name")
    return None


@cache
def documented() -> Mapping[tuple[TableName, str], tuple[TableName, ...]]:
    """What Instructure's documentation says, by table and column."""
    found: dict[tuple[TableName, str], tuple[TableName, ...]] = {}
    namespace = ""
    for line in DOCUMENTED.read_text(encoding="utf-8").splitlines():
        if section := re.fullmatch(r"\[(\w+)\]", line):
            namespace = section[1]
        elif line and not line.startswith("#"):
            table, *columns = line.split()
            for column, _, targets in (text.partition("=") for text in columns):
                named = tuple(_in(namespace, target) for target in targets.split("|"))
                found[TableName(namespace, table), column] = named
    return found


def _in(namespace: str, name: str) -> TableName:
    return TableName.parse(name) if "." in name else TableName(namespace, name)


def _in_comment(table: Table, column: Column, known: Mapping[TableName, Table]) -> TableName | None:
    named = _COMMENT.search(column.comment)
    target = TableName(table.name.namespace, named[1]) if named else None
    return target if target in known else None


def _by_name(table: Table, column: Column, known: Mapping[TableName, Table]) -> TableName | None:
    for target in _meant(table.name, column.name):
        if target in known and _may_hold_keys_of(column, known[target]) and not (target == table.name and column.key):
            return target
    return None


def _meant(table: TableName, column: str) -> Iterator[TableName]:
    """The tables that a column may refer to, going by its name, the most likely first."""
    if not column.endswith("_id"):
        return
    words = column.removesuffix("_id").split("_")
    namespace = table.namespace
    if words[0] == "canvas" and namespace != "canvas":
        namespaces, words = ["canvas"], words[1:]
    else:
        namespaces = [namespace, *([_FAMILIAR[namespace]] if namespace in _FAMILIAR else [])]
    for start in range(len(words)):
        if not _QUALIFIERS.issuperset(words[:start]):
            break
        stem = "_".join(words[start:])
        yield from (TableName(of, plural) for of in namespaces for plural in _plurals(stem))
    # master_template_id of master_courses_migration_results: master_courses_master_templates
    of_table = table.table.split("_")
    for length in range(1, len(of_table)):
        stem = "_".join((*of_table[:length], *words))
        yield from (TableName(namespace, plural) for plural in _plurals(stem) if plural != table.table)


def _plurals(word: str) -> Iterator[str]:
    yield f"{word}s"
    yield f"{word}es"
    yield f"{word}{word[-1:]}es"
    if word.endswith("y"):
        yield f"{word[:-1]}ies"


def _may_hold_keys_of(column: Column, target: Table) -> bool:
    keys = [one for one in target.columns if one.key]
    return len(keys) == 1 and (column.type == keys[0].type or {column.type, keys[0].type} <= _INTEGERS)
