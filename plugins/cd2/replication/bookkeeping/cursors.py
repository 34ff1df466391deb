"""How far each table is replicated: the official client's `instructure_dap.table_sync`.

And which relation and columns hold its data: `cd2.relations`. Increments bring only what changes, so another relation
or column under the same name would lack most values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from cd2.replication.database.connection import Replica
from cd2.replication.names import TableName
from cd2.replication.schema.taken import note_loaded


@dataclass(frozen=True)
class Held:
    """What holds the data of a table.

    :param relation: PostgreSQL's number of the table.
    :param columns: its numbers of the columns of Canvas, by name. They stay when a column is renamed or changed.
    """

    relation: int
    columns: Mapping[str, int]


@dataclass(frozen=True)
class Cursor:
    """How far a table is replicated.

    :param since: the replica holds the table as DAP had it at this time, UTC.
    :param description: the JSON schema that the table has.
    :param held: what holds the data; None: not known, or another program has moved the cursor.
    """

    since: datetime
    schema_version: int
    description: str
    held: Held | None = None


_SINCE = """\
SELECT timestamp FROM instructure_dap.table_sync
WHERE source_namespace = $1 AND source_table = $2 ORDER BY id DESC LIMIT 1"""

# Where the whole database was restored from a dump, all numbers are others, and that of the client's table is, too.
_READ_ALL = """\
SELECT s.timestamp, s.schema_version, s.schema_description, r.relation, r.columns
FROM instructure_dap.table_sync s LEFT JOIN cd2.relations r
    ON r.namespace = $1 AND r.table_name = $2 AND r.since = s.timestamp
    AND r.cursors = 'instructure_dap.table_sync'::regclass
WHERE s.source_namespace = $1 AND s.source_table = $2 ORDER BY s.id DESC LIMIT 1"""

_WRITE = """\
WITH held AS (UPDATE cd2.relations SET since = $3 WHERE namespace = $1 AND table_name = $2)
UPDATE instructure_dap.table_sync SET timestamp = $3, schema_version = $4, schema_description = $5,
    target_schema = $1, target_table = $2, schema_description_format = 'json'
WHERE source_namespace = $1 AND source_table = $2"""

_NOTE = """\
INSERT INTO cd2.relations AS r (namespace, table_name, since, cursors, relation, columns)
SELECT $1, $2, $3, 'instructure_dap.table_sync'::regclass, attrelid, jsonb_object_agg(attname, attnum)
FROM pg_attribute WHERE attrelid = $4::text::regclass AND attname = ANY ($5::text[]) AND NOT attisdropped
GROUP BY attrelid
ON CONFLICT (namespace, table_name) DO UPDATE SET since = excluded.since, cursors = excluded.cursors,
    relation = excluded.relation, columns = excluded.columns"""


async def since(replica: Replica, table: TableName) -> datetime | None:
    """The cursor's time (UTC), without the schema; None if the table was never (completely) initialized."""
    row = await replica.row(_SINCE, table.namespace, table.table)
    return row["timestamp"].replace(tzinfo=UTC) if row else None


async def read(connection: asyncpg.Connection, table: TableName) -> Cursor | None:
    """The table's row in `instructure_dap.table_sync`; None if the table was never (completely) initialized."""
    row = await connection.fetchrow(_READ_ALL, table.namespace, table.table)
    if row is None:
        return None
    held = Held(row["relation"], json.loads(row["columns"])) if row["columns"] else None
    return Cursor(row["timestamp"].replace(tzinfo=UTC), row["schema_version"], row["schema_description"], held)


async def write(connection: asyncpg.Connection, table: TableName, cursor: Cursor) -> None:
    """Write the cursor as the official client does, in the caller's transaction."""
    values = (
        table.namespace,
        table.table,
        cursor.since.astimezone(UTC).replace(tzinfo=None),
        cursor.schema_version,
        cursor.description,
    )
    updated = await connection.execute(_WRITE, *values)
    # The table has no unique key that an upsert could use.
    if updated == "UPDATE 0":
        await connection.execute(
            "INSERT INTO instructure_dap.table_sync (source_namespace, source_table, timestamp, schema_version, "
            "schema_description, target_schema, target_table, schema_description_format) "
            "VALUES ($1, $2, $3, $4, $5, $1, $2, 'json')",
            *values,
        )


async def note_held(connection: asyncpg.Connection, table: TableName, cursor: Cursor, columns: Collection[str]) -> None:
    """Note what holds the data of a table since `cursor`, in the caller's transaction.

    :param columns: those of Canvas.
    """
    since = cursor.since.astimezone(UTC).replace(tzinfo=None)
    await connection.execute(_NOTE, table.namespace, table.table, since, table.quoted, list(columns))
    await connection.execute(note_loaded(table, columns))
