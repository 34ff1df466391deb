"""The last part of a schema change, which needs rows that allow it: required columns, dropped enumeration values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from pysqlsync.formation.object_types import EnumType, Table
from pysqlsync.model.data_types import constant
from pysqlsync.model.id_types import QualifiedId

from cd2.replication.names import quote_identifier
from cd2.replication.schema.model import TableModel
from cd2.replication.schema.naming import MAX_IDENTIFIER, truncated
from cd2.replication.schema.taken import free_name, key_clause, key_name

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

    :param column: the column with the type.
    :param check_sql: tells whether a row still holds one of them.
    """

    type: str
    column: str
    removed: tuple[str, ...]
    check_sql: str
    sql: str


async def closing_steps(
    connection: asyncpg.Connection, model: TableModel, typed: Table, labels: Mapping[str, list[str]]
) -> tuple[RequireColumns | NarrowEnum, ...]:
    """The steps that a table needs.

    :param typed: the table after its breaking changes.
    :param labels: the values that its enumeration types have, by name.
    """
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
                f"SELECT EXISTS (SELECT FROM {model.name.rows} WHERE {missing})",
                f"ALTER TABLE {model.name.quoted} {', '.join(f'ALTER COLUMN {name} SET NOT NULL' for name in names)};",
            )
        )
    for enum in model.enums:
        removed = tuple(value for value in labels.get(enum.name.local_id, ()) if value not in enum.values)
        if removed:
            wanted = truncated(enum.name.local_id, MAX_IDENTIFIER - len(_OLD)) + _OLD
            old = await free_name(connection, model.name.namespace, wanted)
            given = await connection.fetch(_GIVEN, model.name.namespace, enum.name.local_id, str(enum.name))
            steps.append(_narrow(model, enum, removed, old, [row["sql"] for row in given]))
    return tuple(steps)


async def key_replaced(
    connection: asyncpg.Connection, model: TableModel, relation: asyncpg.Record, kept: Iterable[str]
) -> str:
    """Statements that give a table the model's key.

    :param relation: the table in the catalog.
    :param kept: columns of its old key that stay.
    """
    old = relation["key_name"]
    name = await key_name(connection, model, relation["oid"], old)
    drop = f"DROP CONSTRAINT IF EXISTS {quote_identifier(old)}, " if old else ""
    return "\n".join([f"ALTER TABLE {model.name.quoted} {drop}ADD {key_clause(model, name)};", *release(model, kept)])


def release(model: TableModel, columns: Iterable[str]) -> list[str]:
    """Statements that let rows have no value in columns, because DAP no longer delivers any."""
    return [f"ALTER TABLE {model.name.quoted} ALTER COLUMN {quote_identifier(name)} DROP NOT NULL;" for name in columns]


async def leftovers(
    connection: asyncpg.Connection, model: TableModel, columns: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Statements that drop enumeration types which nobody will use.

    Those of these columns, which get another type or are dropped; and those that version 0.1.0 left behind when their
    columns went. Of these only what is certainly ours: called like a type of this table, with the value that only DAP's
    enumerations have, owned by us, without any user, and without anything that users gave it.
    """
    kept = [enum.name.local_id for enum in model.enums]
    rows = await connection.fetch(_FORGOTTEN, model.name.namespace, f"{model.name.table}__", kept)
    return tuple(
        f"DROP TYPE {QualifiedId(row['type_schema'], row['type_name'])}"
        for row in columns
        if row["enumerated"] and row["type_schema"] == model.name.namespace and row["type_name"] not in kept
    ) + tuple(f"DROP TYPE {row['type']}" for row in rows)


_FORGOTTEN = """
SELECT format('%I.%I', nspname, typname) AS type FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
WHERE nspname = $1 AND starts_with(typname, $2) AND typtype = 'e' AND typname <> ALL ($3::text[])
  AND typowner = current_user::regrole AND typacl IS NULL AND obj_description(t.oid, 'pg_type') IS NULL
  AND EXISTS (SELECT FROM pg_enum WHERE enumtypid = t.oid AND enumlabel = '__dap_unspecified__')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass
                  AND d.refobjid IN (t.oid, t.typarray) AND d.deptype <> 'i')
ORDER BY 1"""


def _narrow(model: TableModel, enum: EnumType, removed: tuple[str, ...], old: str, given: Iterable[str]) -> NarrowEnum:
    column = next(column for column in model.columns if column.type.removesuffix(" ARRAY") == str(enum.name))
    name = quote_identifier(column.name)
    values = f"ARRAY[{', '.join(constant(value) for value in removed)}]"
    holds = f"{name}::text[] && {values}" if column.array else f"{name}::text = ANY({values})"
    through = "text[]" if column.array else "text"
    return NarrowEnum(
        str(enum.name),
        column.name,
        removed,
        f"SELECT EXISTS (SELECT FROM {model.name.quoted} WHERE {holds})",
        f"ALTER TYPE {enum.name} RENAME TO {quote_identifier(old)};\n{enum.create_stmt()}\n"
        f"ALTER TABLE {model.name.quoted} ALTER COLUMN {name} "
        f"TYPE {column.type} USING {name}::{through}::{column.type};\n"
        + "\n".join([f"DROP TYPE {QualifiedId(model.name.namespace, old)};", *given]),
    )


# Statements that give a type what people gave the one that it replaces. First nobody may use it, because default
# privileges may have given rights away, and PostgreSQL gives them to PUBLIC. The owner comes last: until then it is
# ours, and with it go our grants. Who passed a right on is not kept; nobody loses one.
_GIVEN = """
WITH old AS (
    SELECT t.oid, typowner, coalesce(typacl, acldefault('T', typowner)) AS acl,
           typacl IS NOT NULL OR EXISTS (SELECT FROM pg_default_acl WHERE defaclobjtype = 'T') AS granted
    FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = $1 AND typname = $2
), entry AS (
    SELECT grantee, bool_or(is_grantable) AS grantable FROM old, aclexplode(acl)
    WHERE granted AND grantee <> typowner GROUP BY grantee
), given AS (
    SELECT DISTINCT grantee FROM old, pg_default_acl, aclexplode(defaclacl)
    WHERE granted AND defaclobjtype = 'T' AND grantee NOT IN (0, current_user::regrole)
)
SELECT sql FROM (
    SELECT 1 AS place, format('REVOKE ALL ON TYPE %s FROM PUBLIC;', $3::text) AS sql FROM old WHERE granted
  UNION ALL
    SELECT 2, format('REVOKE ALL ON TYPE %s FROM %I;', $3::text, pg_get_userbyid(grantee)) FROM given
  UNION ALL
    SELECT 3, format('GRANT USAGE ON TYPE %s TO %s%s;', $3::text,
                     CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                     CASE WHEN grantable THEN ' WITH GRANT OPTION' END)
    FROM entry
  UNION ALL
    SELECT 4, format('COMMENT ON TYPE %s IS ', $3::text) || quote_literal(obj_description(oid, 'pg_type')) || ';'
    FROM old
  UNION ALL
    SELECT 5, format('ALTER TYPE %s OWNER TO %I;', $3::text, pg_get_userbyid(typowner)) FROM old
    WHERE typowner <> current_user::regrole
) AS statement WHERE sql IS NOT NULL ORDER BY place, sql"""
