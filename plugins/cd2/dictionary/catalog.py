"""PostgreSQL's catalog and our notes -> the dictionary. Reads no table of Canvas, and waits for no load."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cd2.dictionary.model import Column, Dictionary, Table
from cd2.dictionary.references import with_references
from cd2.replication.failures import in_our_words
from cd2.replication.names import NAMESPACES, TableName
from cd2.replication.schema.naming import column_names

if TYPE_CHECKING:
    import asyncpg

Row = Mapping[str, Any]

READ_TIMEOUT_S = 60.0
"""For all of it; 500 tables take under a second."""
UNSPECIFIED = "__dap_unspecified__"
"""In every enumeration, for values that the schema does not know."""

# Nothing here locks a table or asks for its size, which would wait for a load that changes it.
_TABLES = """
SELECT c.oid, n.nspname AS namespace, c.relname AS table_name, obj_description(c.oid, 'pg_class') AS comment,
       c.reltuples::bigint AS rows,
       array(SELECT a.attname::text FROM pg_constraint k, unnest(k.conkey) AS x(number)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.number
             WHERE k.conrelid = c.oid AND k.contype = 'p') AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""

_COLUMNS = """
SELECT a.attrelid AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required, col_description(a.attrelid, a.attnum) AS comment,
       CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END AS element
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum"""

_LABELS = """
SELECT enumtypid AS type, array_agg(enumlabel::text ORDER BY enumsortorder) AS labels
FROM pg_enum WHERE enumtypid = ANY ($1) GROUP BY enumtypid"""

_FOREIGN_KEYS = """
SELECT k.conrelid AS relation, a.attname AS name, k.confrelid AS target
FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype = 'f' AND cardinality(k.conkey) = 1 AND k.conrelid = ANY ($1)"""

_READABLE = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN (('cd2', 'status'), ('instructure_dap', 'table_sync'))
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"""

_STATUS = """
SELECT namespace, table_name, state, checked_at, data_as_of, rows_in_table AS rows, last_change_at, failing_since,
       schema_version, verified_at
FROM cd2.status"""

_SYNCED = "SELECT source_namespace, source_table, schema_description FROM instructure_dap.table_sync"

_SHORT = (
    (re.compile(r"^character varying"), "varchar"),
    (re.compile(r"^(timestamp|time)(\(\d\))? without time zone"), r"\1\2"),
    (re.compile(r"^timestamp(\(\d\))? with time zone"), r"timestamptz\1"),
)
"""PostgreSQL's own shorter names of types."""


@dataclass(frozen=True)
class _Described:
    """What DAP's schema says about a table.

    :param text: its description, which is no comment in the replica; those of the columns are.
    :param columns: their names in PostgreSQL.
    """

    text: str
    columns: frozenset[str]


async def read(connection: asyncpg.Connection) -> Dictionary:
    """Read the dictionary of the replica.

    With fewer rights it says less: without `cd2.status` no freshness, without `instructure_dap.table_sync` neither
    what DAP says about a table nor which columns people added. Without both it has every table of the schemas,
    otherwise those that were replicated.

    :param connection: of any role that may connect.
    :raises Cd2Error: the database does not answer.
    """
    with in_our_words("Reading the data dictionary"):
        async with (
            asyncio.timeout(READ_TIMEOUT_S),
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await _read(connection)


async def _read(connection: asyncpg.Connection) -> Dictionary:
    readable = {row[0] for row in await connection.fetch(_READABLE)}
    synced = "instructure_dap.table_sync" in readable
    described = {_name(row): _described(row[2]) for row in await connection.fetch(_SYNCED)} if synced else {}
    noted: dict[TableName, Row] = {}
    if "cd2.status" in readable:
        noted = {_name(row): dict(row) for row in await connection.fetch(_STATUS)}
    relations: dict[int, Row] = {row["oid"]: dict(row) for row in await connection.fetch(_TABLES, list(NAMESPACES))}
    if readable:
        replicated = {*noted, *described}
        relations = {oid: row for oid, row in relations.items() if _table_name(row) in replicated}
    columns = await _columns(connection, relations, described)
    tables = (
        _table(row, columns[oid], noted.get(_table_name(row)), described.get(_table_name(row)))
        for oid, row in relations.items()
    )
    in_order = sorted(tables, key=lambda table: (NAMESPACES.index(table.name.namespace), table.name))
    foreign_keys = {
        (_table_name(relations[row["relation"]]), row["name"]): _table_name(relations[row["target"]])
        for row in await connection.fetch(_FOREIGN_KEYS, list(relations))
        if row["target"] in relations
    }
    return Dictionary(datetime.now(UTC), with_references(in_order, foreign_keys))


async def _columns(
    connection: asyncpg.Connection,
    relations: Mapping[int, Row],
    described: Mapping[TableName, _Described | None],
) -> Mapping[int, list[Column]]:
    rows = await connection.fetch(_COLUMNS, list(relations))
    labels = {row["type"]: row["labels"] for row in await connection.fetch(_LABELS, [row["element"] for row in rows])}
    columns: dict[int, list[Column]] = defaultdict(list)
    for row in rows:
        relation = relations[row["relation"]]
        of_dap = described.get(_table_name(relation))
        column = Column(
            name=row["name"],
            type=short(row["type"]),
            required=row["required"],
            key=row["name"] in relation["key"],
            comment=row["comment"] or "",
            values=tuple(label for label in labels.get(row["element"], ()) if label != UNSPECIFIED),
            added=of_dap is not None and row["name"] not in of_dap.columns,
        )
        columns[row["relation"]].append(column)
    return columns


def short(type_name: str) -> str:
    """The shortest name that PostgreSQL knows for a type."""
    for long, name in _SHORT:
        type_name = long.sub(name, type_name)
    return type_name


def _table(row: Row, columns: Iterable[Column], noted: Row | None, of_dap: _Described | None) -> Table:
    counted = noted["rows"] if noted else None
    guessed = row["rows"] if row["rows"] >= 0 else None  # -1: never analyzed
    known = {name: noted[name] for name in _NOTED} if noted else {}
    return Table(
        name=_table_name(row),
        columns=tuple(columns),
        comment=row["comment"] or (of_dap.text if of_dap else ""),
        rows=guessed if counted is None else counted,
        estimated=counted is None,
        **known,
    )


_NOTED = ("state", "checked_at", "data_as_of", "last_change_at", "failing_since", "schema_version", "verified_at")


def _described(description: str | None) -> _Described | None:
    """What the schema that a table has says about it; None: it cannot be read."""
    try:
        schema = json.loads(description or "")
        names = [name for part in ("key", "value") for name in schema["properties"].get(part, {}).get("properties", {})]
        return _Described(str(schema.get("description") or ""), frozenset(column_names(names).values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _name(row: asyncpg.Record) -> TableName:
    return TableName(row[0], row[1])


def _table_name(row: Row) -> TableName:
    return TableName(row["namespace"], row["table_name"])
