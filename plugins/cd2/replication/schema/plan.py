"""Which DDL a table lacks, compared with its model: by the official client's own mutator, in three parts.

*Additive* DDL commits before the load; *breaking* DDL runs in the load before its rows, *closing* DDL after them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import asyncpg
from pysqlsync.dialect.postgresql.data_types import PostgreSQLJsonType
from pysqlsync.dialect.postgresql.discovery import to_default_expr
from pysqlsync.dialect.postgresql.mutation import PostgreSQLMutator
from pysqlsync.dialect.postgresql.object_types import PostgreSQLTable
from pysqlsync.formation.data_types import SqlDiscovery, SqlDiscoveryOptions
from pysqlsync.formation.object_types import Column, EnumType, Table
from pysqlsync.model.data_types import SqlArrayType, SqlDataType, SqlUserDefinedType, constant
from pysqlsync.model.id_types import GlobalId, LocalId, QualifiedId

from cd2.replication.errors import TableFailure
from cd2.replication.names import quote_identifier
from cd2.replication.schema.model import MAX_IDENTIFIER, TableModel

log = logging.getLogger(__name__)

_RELATION = """
SELECT c.oid, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS description,
       k.conname AS key_name,
       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS x(number, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.number ORDER BY place) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = $1 AND c.relname = $2"""

_COLUMNS = """
SELECT a.attname AS name, a.attnotnull AS required, a.attidentity <> '' AS identity,
       format_type(a.atttypid, a.atttypmod) AS definition, a.attndims <> 0 OR t.typcategory = 'A' AS is_array,
       coalesce(e.typname, t.typname) AS type_name, n.nspname AS type_schema,
       pg_get_expr(d.adbin, d.adrelid) AS default_value, col_description(a.attrelid, a.attnum) AS description
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
JOIN pg_namespace n ON n.oid = coalesce(e.typnamespace, t.typnamespace)
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""

_ENUMS = """
SELECT t.typname AS name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = $1 AND t.typname = ANY($2)
GROUP BY t.typname"""

_KINDS = {"v": "a view", "m": "a materialized view", "p": "a partitioned table", "f": "a foreign table"}
_OLD = "~"


@dataclass(frozen=True)
class RequireColumns:
    """Columns that must have a value in every row from now on.

    :param check_sql: tells whether a row has none.
    """

    columns: tuple[str, ...]
    check_sql: str
    sql: str


@dataclass(frozen=True)
class NarrowEnum:
    """An enumeration type that loses values; PostgreSQL cannot drop a value, so the type is recreated.

    :param check_sql: tells whether a row still holds one of them.
    """

    type: str
    removed: tuple[str, ...]
    check_sql: str
    sql: str


@dataclass(frozen=True)
class SchemaPlan:
    """The DDL that a table lacks; each part is SQL, or None if there is nothing to do.

    :param exists: the table is in the database.
    :param create: creates the table and its types, without the key, which is faster to build over loaded rows.
    :param add_key: adds the primary key.
    :param additive: readers hardly wait for it; new columns are nullable at first.
    :param breaking: changes types, drops columns; dependents may block it.
    :param closing: each step needs rows that allow it.
    :param key_differs: the table's primary key is not the model's.
    :param replace_key: gives the emptied table the model's key.
    """

    exists: bool
    create: str = ""
    add_key: str = ""
    additive: str | None = None
    breaking: str | None = None
    closing: tuple[RequireColumns | NarrowEnum, ...] = ()
    key_differs: bool = False
    replace_key: str | None = None

    @property
    def changes(self) -> bool:
        """Whether the load has anything to change."""
        return bool(self.create or self.breaking or self.closing or self.key_differs)


async def plan_changes(
    connection: asyncpg.Connection, model: TableModel, previous_description: str | None
) -> SchemaPlan:
    """Compare a model with the catalog.

    :param previous_description: the JSON schema that the table last had: only its columns can be dropped, all others
        belong to users.
    :raises TableFailure: something other than a table has its name.
    """
    relation = await connection.fetchrow(_RELATION, model.name.namespace, model.name.table)
    labels = {
        row["name"]: row["labels"]
        for row in await connection.fetch(_ENUMS, model.name.namespace, [enum.name.local_id for enum in model.enums])
    }
    new_types = [enum.create_stmt() for enum in model.enums if enum.name.local_id not in labels]
    # For existing types; PostgreSQL forbids using a value in the transaction that adds it.
    new_values = [
        f"ALTER TYPE {enum.name} ADD VALUE IF NOT EXISTS {constant(value)};"
        for enum in model.enums
        for value in enum.values
        if value not in labels.get(enum.name.local_id, enum.values)
    ]
    if relation is None:
        create = PostgreSQLTable(
            model.target.name, list(model.target.columns.values()), primary_key=(), description=model.target.description
        )
        return SchemaPlan(
            False,
            create="\n".join([*new_types, _without_key(create)]),
            add_key=f"ALTER TABLE {model.name.quoted} ADD {model.target.create_keys()};",
            additive="\n".join(new_values) or None,
        )
    if relation["kind"] != "r":
        what = _KINDS.get(relation["kind"], "something other than a table")
        raise TableFailure(
            f"{model.name}: {what} has the name of the replicated table: rename it, then clear the task."
        )
    return await _changes(connection, model, previous_description, relation, labels, new_types + new_values)


async def _changes(
    connection: asyncpg.Connection,
    model: TableModel,
    previous_description: str | None,
    relation: asyncpg.Record,
    labels: Mapping[str, list[str]],
    add_types: list[str],
) -> SchemaPlan:
    key = tuple(relation["key"])
    ours = set(model.target.columns) | _columns_of(previous_description)
    rows = [row for row in await connection.fetch(_COLUMNS, relation["oid"]) if row["name"] in ours]
    source = _table(model, [_column(row) for row in rows], relation["description"])
    target = {column.name.local_id: column for column in model.target.columns.values()}

    # Step 1: add everything new, make nothing stricter; NOT NULL comes at the end.
    widened = []
    for name, column in source.columns.items():
        wanted = target.get(name, column)
        nullable = column.nullable or (wanted.nullable and name not in key)
        widened.append(replace(column, nullable=nullable, description=wanted.description))
    new = [replace(column, nullable=True) for name, column in target.items() if name not in source.columns]
    wide = _table(model, [*widened, *new], model.target.description)
    # Step 2: change types, drop columns.
    after = {column.name.local_id: column for column in wide.columns.values()}
    typed = _table(
        model,
        [replace(column, nullable=after[name].nullable) for name, column in target.items()],
        model.target.description,
    )
    mutator = _Mutator()
    additive = [*add_types, mutator.mutate_table_stmt(source, wide)]
    closing = _closing(model, typed, labels)
    drop_key = f"DROP CONSTRAINT IF EXISTS {quote_identifier(relation['key_name'])}, " if relation["key_name"] else ""
    replace_key = f"ALTER TABLE {model.name.quoted} {drop_key}ADD {model.target.create_keys()};"
    return SchemaPlan(
        True,
        additive="\n".join(statement for statement in additive if statement) or None,
        breaking=mutator.mutate_table_stmt(wide, typed),
        closing=closing,
        key_differs=key != model.key,
        replace_key=replace_key if key != model.key else None,
    )


class _Mutator(PostgreSQLMutator):
    """The client's mutator, without its conversion of an enumeration to a number, which ends in a KeyError."""

    def is_column_migrated(self, source: Column, target: Column) -> bool | None:  # noqa: ARG002
        return False

    def mutate_column_type(self, source: Column, target: Column) -> str | None:
        statement: str | None = super().mutate_column_type(source, target)
        if statement is None or not _needs_text(source.data_type, target.data_type):
            return statement
        if isinstance(target.data_type, SqlArrayType) and not isinstance(source.data_type, SqlArrayType):
            return f"SET DATA TYPE {target.data_type} USING ARRAY[{source.name}::text]::{target.data_type}"
        through = "text[]" if isinstance(target.data_type, SqlArrayType) else "text"
        return f"SET DATA TYPE {target.data_type} USING {source.name}::{through}::{target.data_type}"


def _needs_text(source: SqlDataType, target: SqlDataType) -> bool:
    """Whether there may be no direct cast; via text, everything can be cast."""
    return type(source) is not type(target) or isinstance(source, SqlUserDefinedType | SqlArrayType)


def _closing(
    model: TableModel, typed: Table, labels: Mapping[str, list[str]]
) -> tuple[RequireColumns | NarrowEnum, ...]:
    steps: list[RequireColumns | NarrowEnum] = []
    stricter = tuple(
        name for name, column in model.target.columns.items() if not column.nullable and typed.columns[name].nullable
    )
    if stricter:
        names = [quote_identifier(name) for name in stricter]
        missing = " OR ".join(f"{name} IS NULL" for name in names)
        steps.append(
            RequireColumns(
                stricter,
                f"SELECT EXISTS (SELECT FROM {model.name.quoted} WHERE {missing})",
                f"ALTER TABLE {model.name.quoted} {', '.join(f'ALTER COLUMN {name} SET NOT NULL' for name in names)};",
            )
        )
    for enum in model.enums:
        removed = tuple(value for value in labels.get(enum.name.local_id, ()) if value not in enum.values)
        if removed:
            steps.append(_narrow(model, enum, removed))
    return tuple(steps)


def _narrow(model: TableModel, enum: EnumType, removed: tuple[str, ...]) -> NarrowEnum:
    column = next(column for column in model.columns if column.type.removesuffix(" ARRAY") == str(enum.name))
    name = quote_identifier(column.name)
    values = f"ARRAY[{', '.join(constant(value) for value in removed)}]"
    holds = f"{name}::text[] && {values}" if column.array else f"{name}::text = ANY({values})"
    old = enum.name.local_id.encode()[: MAX_IDENTIFIER - len(_OLD)].decode("utf-8", "ignore") + _OLD
    through = "text[]" if column.array else "text"
    return NarrowEnum(
        str(enum.name),
        removed,
        f"SELECT EXISTS (SELECT FROM {model.name.quoted} WHERE {holds})",
        f"ALTER TYPE {enum.name} RENAME TO {quote_identifier(old)};\n{enum.create_stmt()}\n"
        f"ALTER TABLE {model.name.quoted} ALTER COLUMN {name} "
        f"TYPE {column.type} USING {name}::{through}::{column.type};\n"
        f"DROP TYPE {QualifiedId(model.name.namespace, old)};",
    )


def _without_key(table: Table) -> str:
    """The client's CREATE TABLE without its last line, the key."""
    statement: str = table.create_stmt()
    return statement.replace(f",\n{table.create_keys()}\n);", "\n);", 1)


def _table(model: TableModel, columns: list[Column], description: str | None) -> Table:
    return PostgreSQLTable(model.target.name, columns, primary_key=model.target.primary_key, description=description)


def _columns_of(description: str | None) -> set[str]:
    """Column names in a JSON schema of `table_sync`."""
    try:
        properties = json.loads(description or "{}").get("properties", {})
        return {name for part in ("key", "value") for name in properties.get(part, {}).get("properties", {})}
    except (ValueError, AttributeError, TypeError):
        log.warning("The schema in instructure_dap.table_sync cannot be read; no column will be dropped.")
        return set()


_DISCOVERY = SqlDiscovery(
    SqlDiscoveryOptions(substitutions={"jsonb": PostgreSQLJsonType(), "inet": SqlUserDefinedType(GlobalId("inet"))})
)


def _column(row: asyncpg.Record) -> Column:
    data_type = _DISCOVERY.sql_data_type_from_spec(
        type_name=row["type_name"], type_schema=row["type_schema"], type_def=row["definition"].removesuffix("[]")
    )
    return Column(
        LocalId(row["name"]),
        SqlArrayType(data_type) if row["is_array"] else data_type,
        not row["required"],
        identity=row["identity"],
        default=to_default_expr(row["default_value"]),
        description=row["description"] or None,
    )
