"""What people hung on columns of a table: indexes, constraints, defaults, triggers, rules, policies, statistics ...

Each *part* that blocks a change of its columns, or would vanish with them, is dropped before the change and recreated
right after it, before any row is written: no trigger, publication or constraint misses a row. What can no longer be
created, because its column is gone, is kept in `cd2.broken_dependents` and retried at each sync, as views are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import asyncpg

from cd2.replication.dependents.find import SHOWN, table_oid
from cd2.replication.dependents.part_catalog import OBSTACLES, OBSTACLES_OF_ADDING, parts_query
from cd2.replication.dependents.session import (
    ViewSession,
    exists_already,
    raise_if_temporary,
    view_session,
    without_values,
)
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.replication.results import Dependents

log = logging.getLogger(__name__)

# Foreign keys of other tables to `$1`.
_REFERENCES = """
SELECT format('constraint %I on %I.%I', conname, nspname, relname) AS label, pg_get_userbyid(relowner) AS owner,
    format('ALTER TABLE %I.%I DROP CONSTRAINT %I', nspname, relname, conname) AS drop,
    array_remove(ARRAY[
        format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', nspname, relname, conname, pg_get_constraintdef(con.oid)),
        (format('COMMENT ON CONSTRAINT %I ON %I.%I IS ', conname, nspname, relname)
         || quote_literal(obj_description(con.oid, 'pg_constraint')))], NULL) AS steps
FROM pg_constraint con JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE contype = 'f' AND confrelid = $1 AND conrelid <> $1 AND conparentid = 0
ORDER BY 1"""


@dataclass(frozen=True)
class Touched:
    """The columns that a schema change is about.

    :param changed: get another type, lose a value of their enumeration, or leave the key.
    :param dropped: are dropped.
    """

    changed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """An object that hangs on columns of a table.

    :param label: names it for people: `policy own on canvas.users`.
    :param owner: the role that may drop and create it.
    :param strict: the table must not be without it: rows would become visible, or not reach a subscriber.
    :param drop: the statement that drops it.
    :param steps: the statements that recreate it; the first creates it.
    """

    label: str
    owner: str
    strict: bool
    drop: str
    steps: tuple[str, ...]


async def drop_parts(
    connection: asyncpg.Connection, table: TableName, touched: Touched, *, blocked: bool
) -> tuple[Part, ...]:
    """Drop the parts on these columns of a table, and remember all that is needed to recreate them.

    :param connection: inside a transaction.
    :param blocked: PostgreSQL refused the change; otherwise only the parts of dropped columns are dropped.
    :returns: what `restore_parts` needs, in the order in which they are created.
    :raises TableFailure: one cannot be dropped, or the table must not be without it; nothing was dropped.
    """
    columns = (*touched.changed, *touched.dropped) if blocked else touched.dropped
    if not columns:
        return ()
    async with view_session(connection) as session:
        if (oid := await table_oid(connection, table)) is None:
            return ()
        rows = await connection.fetch(
            parts_query(connection.get_server_version().major), oid, list(columns), list(touched.dropped)
        )
        rows = [row for row in rows if row["gone"] or not row["plain"]]
        parts = [_part(row) for row in rows]
        for part, row in zip(parts, rows, strict=True):
            if part.strict and row["gone"]:
                raise _in_the_way(table, part, "uses a column that DAP has dropped, and must not vanish unnoticed")
        await _drop(session, table, parts)
    return tuple(parts)


async def drop_references(connection: asyncpg.Connection, table: TableName) -> tuple[Part, ...]:
    """Drop the foreign keys of other tables to this one, and remember all that is needed to recreate them.

    :raises TableFailure: one cannot be dropped; nothing was dropped.
    """
    async with view_session(connection) as session:
        rows = await connection.fetch(_REFERENCES, await table_oid(connection, table))
        parts = [Part(row["label"], row["owner"], False, row["drop"], tuple(row["steps"])) for row in rows]
        await _drop(session, table, parts)
    return tuple(parts)


async def drop_labelled(connection: asyncpg.Connection, table: TableName, labels: Collection[str]) -> tuple[Part, ...]:
    """Drop these constraints and indexes of a table, and foreign keys to it, and remember how to recreate them.

    :raises asyncpg.PostgresError: one cannot be dropped; nothing was dropped.
    """
    async with view_session(connection) as session:
        oid = await table_oid(connection, table)
        columns = [row["name"] for row in await connection.fetch(_COLUMNS, oid)]
        rows = await connection.fetch(parts_query(connection.get_server_version().major), oid, columns, [])
        parts = [_part(row) for row in rows if row["label"] in labels]
        for part in reversed(parts):
            await session.run(part.drop, part.owner)
    return tuple(parts)


async def recreate(connection: asyncpg.Connection, part: Part) -> None:
    """Recreate what `drop_labelled` dropped.

    :raises asyncpg.PostgresError: it cannot be created.
    """
    async with view_session(connection) as session:
        await _create(session, part)


async def restore_parts(connection: asyncpg.Connection, table: TableName, parts: Sequence[Part]) -> Dependents:
    """Recreate what `drop_parts` dropped; what can no longer be created is kept in `cd2.broken_dependents`.

    :returns: the labels of the parts that are as they were, and of those that are not.
    :raises TableFailure: a right is missing, or the table must not be without a part.
    """
    restored, broken = [], []
    if parts:
        async with view_session(connection) as session:
            for part in parts:
                try:
                    await _create(session, part)
                except asyncpg.PostgresError as error:
                    raise_if_temporary(error)
                    if part.strict or error.sqlstate == "42501":
                        raise _in_the_way(table, part, f"cannot be recreated: {without_values(error)}") from None
                    await _note(connection, table, part, without_values(error))
                    broken.append(part.label)
                else:
                    restored.append(part.label)
    return Dependents(tuple(restored), tuple(broken))


async def retry_parts(connection: asyncpg.Connection, table: TableName) -> Dependents:
    """Retry what earlier syncs, or this one, could not recreate; costs one SELECT if there is nothing."""
    rows = await connection.fetch(_NOTED, table.namespace, table.table)
    restored, broken = [], []
    if rows:
        async with view_session(connection) as session:
            for row in rows:
                values = json.loads(row["part"])
                part = Part(**{**values, "steps": tuple(values["steps"])})
                try:
                    await _create(session, part)
                except asyncpg.PostgresError as error:
                    raise_if_temporary(error)
                    if not exists_already(error):
                        await _note(connection, table, part, without_values(error))
                        broken.append(part.label)
                        continue
                    log.warning("%s: somebody has recreated it; it is no longer retried.", part.label)
                else:
                    restored.append(part.label)
                await connection.execute("DELETE FROM cd2.broken_dependents WHERE id = $1", row["id"])
    return Dependents(tuple(restored), tuple(broken))


@dataclass(frozen=True)
class Obstacle:
    """What is in the way of a change and can only be dropped by people.

    :param what: names it for people.
    :param command: the statement that drops it.
    """

    what: str
    command: str


async def obstacles(
    connection: asyncpg.Connection, table: TableName, touched: Touched, *, adding: bool = False
) -> list[Obstacle]:
    """What is in the way of a change of these columns and can only be dropped by people.

    :param adding: the change only adds columns, or lets them be empty.
    """
    columns: Collection[str] = (*touched.changed, *touched.dropped)
    async with view_session(connection):
        oid = await table_oid(connection, table)
        query = OBSTACLES_OF_ADDING if adding else OBSTACLES
        rows = await connection.fetch(query, oid, list(columns), list(touched.dropped))
    return [Obstacle(row["what"], row["command"]) for row in rows[:SHOWN]]


def _part(row: asyncpg.Record) -> Part:
    return Part(row["label"], row["owner"], row["strict"], row["drop"], tuple(row["steps"]))


async def _drop(session: ViewSession, table: TableName, parts: Sequence[Part]) -> None:
    for part in reversed(parts):
        try:
            await session.run(part.drop, part.owner)
        except asyncpg.PostgresError as error:
            # No right to; or a generated column that cannot be without its expression, because it is required.
            raise_if_temporary(error)
            raise _in_the_way(table, part, f"cannot be dropped: {without_values(error)}") from None


async def _create(session: ViewSession, part: Part) -> None:
    async with session.connection.transaction():
        for step in part.steps:
            await session.run_loosely(step, part.owner)


async def _note(connection: asyncpg.Connection, table: TableName, part: Part, error: str) -> None:
    await connection.execute(
        "INSERT INTO cd2.broken_dependents (schema_name, view_name, tables, missing, definition, error) "
        "VALUES ($1, $2, ARRAY[pg_catalog.format('%I.%I', $1::text, $3::text)], true, $4, $5) "
        "ON CONFLICT (schema_name, view_name) DO UPDATE SET definition = EXCLUDED.definition, error = EXCLUDED.error, "
        "tried_at = now()",
        table.namespace,
        part.label,
        table.table,
        json.dumps({"part": asdict(part)}),
        error,
    )


def _in_the_way(table: TableName, part: Part, why: str) -> TableFailure:
    return TableFailure(
        f"{table}: its schema changed, and {part.label}, which belongs to {part.owner}, {why.rstrip('.')}. "
        f"Run {part.drop}, recreate it after the sync as you need it, and clear the task. Nothing was changed.",
        cause="DependentObjectsStillExistError",
        type="2BP01",
    )


_COLUMNS = "SELECT attname::text AS name FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped"
_NOTED = """
SELECT id, definition ->> 'part' AS part FROM cd2.broken_dependents
WHERE schema_name = $1 AND tables @> ARRAY[pg_catalog.format('%I.%I', $1::text, $2::text)] AND definition ? 'part'
ORDER BY id"""
