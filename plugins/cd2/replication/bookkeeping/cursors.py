"""How far each table is replicated: the official client's `instructure_dap.table_sync`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from cd2.replication.database.connection import Replica
from cd2.replication.names import TableName


@dataclass(frozen=True)
class Cursor:
    """How far a table is replicated.

    :param since: the replica holds the table as DAP had it at this time, UTC.
    :param description: the JSON schema that the table has.
    """

    since: datetime
    schema_version: int
    description: str


_READ = """\
SELECT {columns} FROM instructure_dap.table_sync
WHERE source_namespace = $1 AND source_table = $2 ORDER BY id DESC LIMIT 1"""


async def since(replica: Replica, table: TableName) -> datetime | None:
    """The cursor's time (UTC), without the schema; None if the table was never (completely) initialized."""
    row = await replica.row(_READ.format(columns="timestamp"), table.namespace, table.table)
    return row["timestamp"].replace(tzinfo=UTC) if row else None


async def read(connection: asyncpg.Connection, table: TableName) -> Cursor | None:
    """The table's row in `instructure_dap.table_sync`; None if the table was never (completely) initialized."""
    columns = "timestamp, schema_version, schema_description"
    row = await connection.fetchrow(_READ.format(columns=columns), table.namespace, table.table)
    if row is None:
        return None
    return Cursor(row["timestamp"].replace(tzinfo=UTC), row["schema_version"], row["schema_description"])


async def write(connection: asyncpg.Connection, table: TableName, cursor: Cursor) -> None:
    """Write the cursor as the official client does, in the caller's transaction."""
    values = (
        table.namespace,
        table.table,
        cursor.since.astimezone(UTC).replace(tzinfo=None),
        cursor.schema_version,
        cursor.description,
    )
    updated = await connection.execute(
        "UPDATE instructure_dap.table_sync SET timestamp = $3, schema_version = $4, schema_description = $5, "
        "target_schema = $1, target_table = $2, schema_description_format = 'json' "
        "WHERE source_namespace = $1 AND source_table = $2",
        *values,
    )
    # The table has no unique key that an upsert could use.
    if updated == "UPDATE 0":
        await connection.execute(
            "INSERT INTO instructure_dap.table_sync (source_namespace, source_table, timestamp, schema_version, "
            "schema_description, target_schema, target_table, schema_description_format) "
            "VALUES ($1, $2, $3, $4, $5, $1, $2, 'json')",
            *values,
        )
