"""How fresh each table is, for people and reports: `SELECT * FROM cd2.freshness`.

The data of a quiet table may be old and yet right: what matters is when it was last found equal to DAP.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from cd2.replication.database.connection import Replica
from cd2.replication.errors import Cd2Error, ReinitRequired, TableFailure
from cd2.replication.names import TableName
from cd2.replication.results import Freshness

REINIT_EVERY = timedelta(hours=24)
"""How often a table may be re-initialized automatically: DAP may refuse repeated snapshots."""

_UP_TO_DATE = """
INSERT INTO cd2.freshness AS f (namespace, table_name, checked_at, data_as_of, reinitialized_at)
VALUES ($1, $2, clock_timestamp(), $3, CASE WHEN $4 THEN clock_timestamp() END)
ON CONFLICT (namespace, table_name) DO UPDATE SET checked_at = excluded.checked_at, data_as_of = excluded.data_as_of,
    reinitialized_at = coalesce(excluded.reinitialized_at, f.reinitialized_at), failing_since = NULL, error = NULL"""

_REINIT = """
INSERT INTO cd2.freshness AS f (namespace, table_name, reinitialized_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (namespace, table_name) DO UPDATE SET reinitialized_at = excluded.reinitialized_at"""

_FAILED = """
INSERT INTO cd2.freshness AS f (namespace, table_name, failing_since, error) VALUES ($1, $2, clock_timestamp(), $3)
ON CONFLICT (namespace, table_name) DO UPDATE
    SET failing_since = coalesce(f.failing_since, excluded.failing_since), error = excluded.error"""


async def up_to_date(
    connection: asyncpg.Connection, table: TableName, as_of: datetime, *, reinitialized: bool = False
) -> None:
    """Note that a table is up to date, in the caller's transaction.

    :param reinitialized: by a snapshot that no person requested.
    """
    await connection.execute(_UP_TO_DATE, table.namespace, table.table, as_of, reinitialized)


async def reinit_begins(replica: Replica, table: TableName) -> None:
    """Note that DAP is asked for a snapshot that no person requested: it counts, however it ends."""
    await replica.row(_REINIT, table.namespace, table.table)


async def failed(connection: asyncpg.Connection, table: TableName, error: Cd2Error) -> None:
    """Note that an attempt at a table failed."""
    await connection.execute(_FAILED, table.namespace, table.table, error.message)


async def read(connection: asyncpg.Connection) -> dict[TableName, Freshness]:
    """How fresh each table is."""
    rows = await connection.fetch("SELECT namespace, table_name, checked_at, failing_since FROM cd2.freshness")
    return {TableName(row[0], row[1]): Freshness(row[2], row[3]) for row in rows}


async def check_reinit(connection: asyncpg.Connection, table: TableName, required: ReinitRequired) -> None:
    """Check that the table may get a new snapshot automatically.

    :raises TableFailure: one was already asked for within the last `REINIT_EVERY`.
    """
    last = await connection.fetchval(
        "SELECT reinitialized_at FROM cd2.freshness WHERE namespace = $1 AND table_name = $2 "
        "AND reinitialized_at > clock_timestamp() - $3::interval",
        table.namespace,
        table.table,
        REINIT_EVERY,
    )
    if last is not None:
        raise TableFailure(
            f"{required.message} DAP was already asked for one automatically at {last:%Y-%m-%d %H:%M} UTC, and is "
            f"asked only once every {REINIT_EVERY // timedelta(hours=1)} h, because it may refuse repeated snapshots. "
            "To load it now, trigger the DAG with this table and full_refresh.",
            cause=required.cause,
            type=required.type,
            uuid=required.uuid,
        )
