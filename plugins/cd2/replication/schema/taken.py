"""Free names for what we create, where users' objects have taken ours.

A table that is renamed as a backup keeps the names of its key, its indexes and its enumeration types: the next init
would meet them. Once ours has a name, it keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import asyncpg
from pysqlsync.dialect.postgresql.object_types import PostgreSQLTable
from pysqlsync.formation.object_types import Column, EnumType
from pysqlsync.model.data_types import SqlArrayType, SqlDataType, SqlUserDefinedType, constant
from pysqlsync.model.id_types import QualifiedId

from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName, quote_identifier
from cd2.replication.schema.naming import alternatives, truncated

if TYPE_CHECKING:
    from cd2.replication.schema.model import TableModel

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "p": "a partitioned table",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a type",
    "t": "a type",
}

_TAKEN = """
SELECT name FROM unnest($2::text[]) AS name
WHERE EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
              WHERE nspname = $1 AND relname = ANY (ARRAY(SELECT name || suffix FROM unnest($3::text[]) AS suffix)))
   OR EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = $1 AND typname = name)
   OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = $4 AND conname = name)"""

# Where the whole database was restored from a dump, the numbers are others.
_LOADED = """
SELECT columns FROM cd2.loaded_columns WHERE namespace = $1 AND table_name = $2 AND relation = $3
    AND cursors = 'instructure_dap.table_sync'::regclass"""

# free: nobody uses the type, and it is ours to alter.   columns: those of our table that have it.
_TYPES = """
SELECT t.typname::text AS name,
       t.typtype = 'e' AND pg_has_role(t.typowner, 'USAGE') AND NOT EXISTS (
           SELECT FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
               AND d.deptype <> 'i') AS free,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped
                 AND t.typtype = 'e' AND a.atttypid IN (t.oid, t.typarray)) AS columns
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = $1 AND t.typname = ANY ($3::text[])"""


def check_kind(table: TableName, kind: str | None) -> None:
    """Check that the name of a table is free, or that of a table.

    :param kind: `relkind` of what has the name.
    :raises TableFailure: it is neither.
    """
    if kind not in (None, "r"):
        what = _KINDS.get(kind, "something other than a table")
        raise TableFailure(
            f"{table}: {what} has the name of the replicated table: rename it, then clear the task.", type="42P07"
        )


@dataclass(frozen=True)
class Adopted:
    """Columns of DAP's that the table had before DAP did, and that were not made by a load.

    :param unproven: have values of which nobody knows whether they are Canvas's.
    :param empty: have none.
    """

    unproven: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """All of them."""
        return {*self.unproven, *self.empty}

    def notes(self, table: TableName) -> tuple[str, ...]:
        """Sentences that say what became of them."""
        there = f"{table}: the table already had DAP's new column"
        return (
            *(f"{there} {name}, with values: it now has Canvas's." for name in self.unproven),
            *(f"{there} {name}, empty and just as DAP describes it: it is now Canvas's." for name in self.empty),
        )


async def adopt(
    connection: asyncpg.Connection,
    model: TableModel,
    columns: Mapping[str, Column],
    rows: Iterable[Mapping[str, Any]],
    made: Collection[str],
    may_be_kept: bool,
) -> Adopted:
    """Tell what to do with columns that DAP has now, that the table has, and that were not in its last schema.

    A load that failed may have made one. One that has just DAP's type and comment may be the official client's, which
    records nothing. All others are users' own: they must decide, even if a column is still empty.

    :param columns: of the table, as pysqlsync sees them.
    :param rows: of the catalog.
    :param made: the columns that loads have made.
    :param may_be_kept: it may also be DAP's of long ago, whose values exist nowhere else: nobody is told to drop it.
    :raises TableFailure: a user made one, or it was kept.
    """
    unproven: list[str] = []
    empty: list[str] = []
    for row in rows:
        name, wanted, column = row["name"], model.target.columns[row["name"]], columns[row["name"]]
        same = column.data_type == wanted.data_type
        if name in made and may_be_kept and same:
            continue
        filled = await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {model.name.rows} WHERE {quote_identifier(name)} IS NOT NULL)"
        )
        if name in made and not filled:
            continue
        bare = row["number"] and not (row["default_value"] or row["identity"] or row["required"])
        described = bare and same and column.description and column.description == wanted.description
        if not (name in made or described) or (may_be_kept and filled):
            raise _column_taken(model.name, name, may_be_kept)
        (unproven if filled else empty).append(name)
    return Adopted(tuple(unproven), tuple(empty))


def _column_taken(table: TableName, column: str, may_be_kept: bool) -> TableFailure:
    name = quote_identifier(column)
    whose, drop = (
        "a column of that name that no load has made",
        f" or drop it (ALTER TABLE {table.quoted} DROP COLUMN {name})",
    )
    if may_be_kept:
        whose, drop = "a column of that name, kept when DAP no longer had it or created by a user", ""
    return TableFailure(
        f"{table}: DAP has a new column {column}, but the table already has {whose}: rename it "
        f"(ALTER TABLE {table.quoted} RENAME COLUMN {name} TO ...){drop}, then clear the task. Nothing was changed.",
        type="42701",
    )


async def read_loaded(connection: asyncpg.Connection, table: TableName, relation: int) -> dict[str, int] | None:
    """PostgreSQL's numbers of the columns that loads have made in a table, or found to be Canvas's; None: not known."""
    columns = await connection.fetchval(_LOADED, table.namespace, table.table, relation)
    return json.loads(columns) if columns else None


def note_loaded(table: TableName, columns: Iterable[str]) -> str:
    """A statement that notes columns as made by loads, or as Canvas's."""
    names = ", ".join(constant(name) for name in sorted(columns))
    return f"""\
INSERT INTO cd2.loaded_columns AS c (namespace, table_name, cursors, relation, columns)
SELECT {constant(table.namespace)}, {constant(table.table)}, 'instructure_dap.table_sync'::regclass, attrelid,
    jsonb_object_agg(attname, attnum)
FROM pg_attribute
WHERE attrelid = {constant(table.quoted)}::regclass AND attname = ANY (ARRAY[{names}]::text[]) AND NOT attisdropped
GROUP BY attrelid
ON CONFLICT (namespace, table_name) DO UPDATE SET cursors = excluded.cursors, relation = excluded.relation, columns =
    CASE WHEN (c.cursors, c.relation) = (excluded.cursors, excluded.relation) THEN c.columns ELSE '{{}}' END
    || excluded.columns;"""


async def free_name(
    connection: asyncpg.Connection,
    schema: str,
    wanted: str,
    *,
    suffixes: Collection[str] = ("",),
    relation: int | None = None,
    own: str | None = None,
) -> str:
    """The first alternative to a name that no relation, type or constraint has.

    :param suffixes: of further relations that get the name with a suffix.
    :param relation: oid of a table whose constraints count, too.
    :param own: a name that is ours already.
    """
    names = alternatives(wanted)
    rows = await connection.fetch(_TAKEN, schema, list(names), list(suffixes), relation)
    taken = {row["name"] for row in rows} - {own}
    return next(name for name in names if name not in taken)


async def key_name(connection: asyncpg.Connection, model: TableModel, relation: int | None, own: str | None) -> str:
    """The name of a primary key: as the official client calls it, or an alternative.

    :param relation: oid of the table, if it is there.
    :param own: the name of the key that it replaces.
    """
    wanted = truncated(model.target.primary_key_constraint_id.local_id)
    return await free_name(connection, model.name.namespace, wanted, relation=relation, own=own)


def key_clause(model: TableModel, name: str) -> str:
    """The primary key for CREATE and ALTER TABLE."""
    return f"CONSTRAINT {quote_identifier(name)} PRIMARY KEY ({', '.join(map(quote_identifier, model.key))})"


async def names_of_types(connection: asyncpg.Connection, model: TableModel, relation: int | None) -> dict[str, str]:
    """The names that the model's enumeration types have or get, by those in the model.

    A type that other objects use is not ours: values would be added to it, and could never be dropped.

    :param relation: oid of the table, if it is there.
    """
    if not model.enums:
        return {}
    names = {enum.name.local_id: alternatives(enum.name.local_id) for enum in model.enums}
    everything = [name for some in names.values() for name in some]
    rows = await connection.fetch(_TYPES, model.name.namespace, relation, everything)
    there = {row["name"]: row for row in rows}
    columns = {
        enum.name.local_id: next(c.name for c in model.columns if c.type.removesuffix(" ARRAY") == str(enum.name))
        for enum in model.enums
    }
    others = set(model.target.columns)
    found = {}
    for wanted, some in names.items():
        # A column whose name PostgreSQL had cut still has its old one.
        own = (name for name in some if name in there and _is_ours(there[name]["columns"], columns[wanted], others))
        free = (name for name in some if name not in there or there[name]["free"])
        found[wanted] = next(own, None) or next(free)
    return found


def _is_ours(used_by: Collection[str], column: str, others: Collection[str]) -> bool:
    return column in used_by or (bool(used_by) and not set(used_by) & set(others))


def with_type_names(model: TableModel, names: Mapping[str, str]) -> TableModel:
    """The model with other names of its enumeration types.

    :param names: by those in the model; others stay.
    """
    if all(name == wanted for wanted, name in names.items()):
        return model

    def named(data_type: SqlDataType) -> SqlDataType:
        if isinstance(data_type, SqlArrayType):
            return SqlArrayType(named(data_type.element_type))
        if isinstance(data_type, SqlUserDefinedType) and data_type.ref.local_id in names:
            return SqlUserDefinedType(QualifiedId(data_type.ref.scope_id, names[data_type.ref.local_id]))
        return data_type

    typed = [replace(column, data_type=named(column.data_type)) for column in model.target.columns.values()]
    target = PostgreSQLTable(
        model.target.name, typed, primary_key=model.target.primary_key, description=model.target.description
    )
    types = {column.name.local_id: str(column.data_type) for column in typed}
    enums = [
        EnumType(QualifiedId(model.name.namespace, names.get(enum.name.local_id, enum.name.local_id)), enum.values)
        for enum in model.enums
    ]
    columns = tuple(replace(column, type=types[column.name]) for column in model.columns)
    return replace(model, columns=columns, target=target, enums=tuple(enums))
