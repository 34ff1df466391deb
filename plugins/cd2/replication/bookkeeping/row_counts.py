"""`cd2.row_counts`: how many rows each table has, exactly, without counting them at each load."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.names import TableName
    from cd2.replication.results import Action

# What this transaction has really inserted and deleted, triggers' work included. Statistics that the session has not
# reported yet count, too, so only the difference between two looks says something.
_DONE = """
SELECT pg_stat_get_xact_tuples_inserted(c) - pg_stat_get_xact_tuples_deleted(c)
FROM to_regclass($1) AS c WHERE current_setting('track_counts')::boolean"""

_KNOWN = "SELECT row_count FROM cd2.row_counts WHERE namespace = $1 AND table_name = $2 AND as_of = $3"

_NOTE = """
INSERT INTO cd2.row_counts (namespace, table_name, row_count, as_of, counted_at)
VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN clock_timestamp() END)
ON CONFLICT (namespace, table_name) DO UPDATE SET row_count = excluded.row_count, as_of = excluded.as_of,
    counted_at = coalesce(excluded.counted_at, row_counts.counted_at)"""


async def done(connection: asyncpg.Connection, table: TableName) -> int | None:
    """How many rows more the table has by this transaction, up to a constant; None: PostgreSQL does not count."""
    rows: int | None = await connection.fetchval(_DONE, table.quoted)
    return rows


async def note_load(
    connection: asyncpg.Connection,
    table: TableName,
    action: Action,
    before: tuple[datetime | None, int | None],
    as_of: datetime,
) -> None:
    """Note the rows after a load, in its transaction.

    A sync adds what it inserted to what was there. The rows are counted after a snapshot, and if somebody else has
    moved the cursor since the last load.

    :param before: the cursor and `done` before the load.
    """
    cursor, done_before = before
    known = None
    if action == "sync" and cursor is not None and done_before is not None:
        known = await connection.fetchval(_KNOWN, table.namespace, table.table, cursor)
    if known is not None and done_before is not None:
        added = (await done(connection, table) or 0) - done_before
        await note(connection, table, known + added, as_of, counted=False)
    else:
        await note(connection, table, await connection.fetchval(f"SELECT count(*) FROM {table.quoted}"), as_of)


async def note(
    connection: asyncpg.Connection, table: TableName, rows: int, as_of: datetime, *, counted: bool = True
) -> None:
    """Note how many rows a table has.

    :param as_of: its cursor.
    :param counted: they were counted just now, not computed.
    """
    await connection.execute(_NOTE, table.namespace, table.table, rows, as_of, counted)
