"""How fresh each table is, for people and reports: `SELECT * FROM cd2.freshness`.

The data of a quiet table may be old and yet right: what matters is when it was last found equal to DAP. The rows are
written with those of the ledger (`ledger.py`).
"""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from cd2.replication.database.connection import Replica
from cd2.replication.errors import ReinitRequired, TableFailure
from cd2.replication.names import TableName
from cd2.replication.results import Freshness

REINIT_EVERY = timedelta(hours=24)
"""How often a table may be re-initialized automatically: DAP may refuse repeated snapshots."""

_REINIT = """
INSERT INTO cd2.freshness AS f (namespace, table_name, reinitialized_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (namespace, table_name) DO UPDATE SET reinitialized_at = excluded.reinitialized_at"""


async def reinit_begins(replica: Replica, table: TableName) -> None:
    """Note that DAP is asked for a snapshot that no person requested: it counts, however it ends."""
    await replica.row(_REINIT, table.namespace, table.table)


async def read(connection: asyncpg.Connection) -> dict[TableName, Freshness]:
    """How fresh each table is."""
    rows = await connection.fetch(
        "SELECT namespace, table_name, checked_at, failing_since, data_as_of, error FROM cd2.freshness"
    )
    return {TableName(row[0], row[1]): Freshness(*row[2:]) for row in rows}


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
