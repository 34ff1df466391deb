"""PostgreSQL's catalog -> constraints that users created on a table, or that refer to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import asyncpg

from cd2.replication.names import TableName


@dataclass(frozen=True)
class Constraint:
    """A constraint, or a unique index.

    :param kind: `contype` of pg_constraint; `i`: a unique index without a constraint.
    :param label: names it for people: `constraint mine on canvas.users`.
    :param table: the table that has it; qualified and quoted, like `references`.
    :param owner: of that table.
    :param references: the table that a foreign key refers to.
    :param here: the table is the one that is loaded.
    :param to_here: a foreign key refers to the one that is loaded.
    :param replicated: the other table of the foreign key is one of Canvas.
    :param acts: an UPDATE or DELETE of the table that it refers to changes rows: CASCADE, SET NULL, SET DEFAULT.
    :param drop: the statement that drops it.
    """

    kind: str
    label: str
    table: str
    owner: str
    references: str | None
    here: bool
    to_here: bool
    replicated: bool
    acts_on_update: bool
    drop: str


async def named(
    connection: asyncpg.Connection, table: TableName, error: asyncpg.IntegrityConstraintViolationError
) -> list[Constraint]:
    """The constraint that an error names, and the foreign keys that need its index; none if there is no such one.

    :param table: the one that is loaded.
    """
    name = (error.schema_name, error.table_name, error.constraint_name)
    return _read(await connection.fetch(_NAMED, table.quoted, *name)) if all(name) else []


async def acting(connection: asyncpg.Connection, table: TableName) -> list[Constraint]:
    """The foreign keys by which PostgreSQL would itself change rows of replicated tables when rows of this one go."""
    return _read(await connection.fetch(_ACTING, table.quoted))


def _read(rows: Iterable[asyncpg.Record]) -> list[Constraint]:
    return [Constraint(**{field.name: row[field.name] for field in fields(Constraint)}) for row in rows]


_ALL = """
WITH loaded AS (SELECT to_regclass($1::text)::oid AS oid), con AS (
    SELECT oid, contype::text AS kind, conname::text AS name, conrelid AS relation, confrelid, conindid AS index,
           confdeltype::text IN ('c', 'n', 'd') AS acts_on_delete, confupdtype::text IN ('c', 'n', 'd') AS acts
    FROM pg_constraint WHERE conrelid <> 0 AND conparentid = 0
  UNION ALL
    SELECT i.indexrelid, 'i', c.relname::text, i.indrelid, 0, i.indexrelid, false, false
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indisunique AND NOT EXISTS (
        SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u', 'x'))
), replica AS (
    SELECT c.oid FROM instructure_dap.table_sync s
    JOIN pg_namespace n ON n.nspname = coalesce(s.target_schema, s.source_namespace)
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.target_table
), found AS (
    SELECT con.*, format('%I.%I', n.nspname, c.relname) AS "table", pg_get_userbyid(c.relowner)::text AS owner,
           n.nspname, c.relname, (SELECT format('%I.%I', rn.nspname, r.relname) FROM pg_class r
               JOIN pg_namespace rn ON rn.oid = r.relnamespace WHERE r.oid = confrelid) AS "references",
           relation = loaded.oid AS here, confrelid = loaded.oid AS to_here,
           CASE WHEN relation = loaded.oid THEN confrelid ELSE relation END IN (SELECT oid FROM replica) AS replicated,
           acts AND NOT coalesce((SELECT indisprimary FROM pg_index WHERE indexrelid = index), true) AS acts_on_update,
           CASE kind WHEN 'i' THEN format('index %I.%I', n.nspname, name)
               ELSE format('constraint %I on %I.%I', name, n.nspname, c.relname) END AS label,
           CASE kind WHEN 'i' THEN format('DROP INDEX %I.%I', n.nspname, name)
               ELSE format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, name) END AS drop
    FROM loaded, con JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = c.relnamespace
)"""

_NAMED = (
    _ALL
    + """, one AS (SELECT * FROM found WHERE nspname = $2 AND relname = $3 AND name = $4)
SELECT *, 1 AS place FROM one
UNION ALL
SELECT found.*, 2 FROM found JOIN one ON found.index = one.index AND found.oid <> one.oid AND one.kind IN ('u', 'i')
WHERE found.kind = 'f'
ORDER BY place, label"""
)

_ACTING = (
    _ALL
    + """
SELECT * FROM found
WHERE kind = 'f' AND to_here AND (replicated OR here) AND (acts_on_delete OR acts_on_update)
ORDER BY label"""
)
