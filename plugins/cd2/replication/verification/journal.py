"""What verifications found: `cd2.verifications`, and which keys differ: `cd2.verification_differences`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from cd2.replication.bookkeeping import ledger
from cd2.replication.database.connection import Replica, connected
from cd2.replication.failures import in_our_words
from cd2.replication.names import TableName
from cd2.replication.results import TableResult, Verification

if TYPE_CHECKING:
    import asyncpg

KEPT_DAYS = 400
LEFT_ALONE_DAYS = 30
"""How long a table is not verified on its own after DAP refused a snapshot of it."""

_NOTE = """
INSERT INTO cd2.verifications (namespace, table_name, verified_at, requested, outcome, reason, snapshot_as_of,
    data_as_of, snapshot_job, rows_compared, rows_left_out, rows_kept, missing, extra, different, columns)
VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
RETURNING id"""

_FORGET_OLD = f"""
DELETE FROM cd2.verifications
WHERE namespace = $1 AND table_name = $2 AND verified_at < clock_timestamp() - interval '{KEPT_DAYS} days'"""

# A snapshot that still waits was never compared: its worker was killed, perhaps by the very comparison.
_HISTORY = f"""
SELECT f.namespace, f.table_name, max(tried.at),
       coalesce(bool_or(tried.outcome = 'refused' AND tried.at > now() - interval '{LEFT_ALONE_DAYS} days'), false),
       count(*) FILTER (WHERE NOT tried.requested
                        AND tried.at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
FROM cd2.freshness f LEFT JOIN (
    SELECT namespace, table_name, verified_at AS at, outcome, requested FROM cd2.verifications
    UNION ALL SELECT namespace, table_name, noted_at, 'waiting', false FROM cd2.verifying
) AS tried USING (namespace, table_name)
WHERE f.checked_at IS NOT NULL AND f.failing_since IS NULL
GROUP BY 1, 2"""


@dataclass(frozen=True)
class History:
    """What is known about the verifications of a table that is up to date.

    :param last: when it was last compared, or when that was last tried in vain, so that a table whose snapshot is never
        of use does not keep all others from their turn; None: never.
    :param refused: DAP has refused a snapshot of it in the last `LEFT_ALONE_DAYS` days.
    :param today: how often it was verified on its own since midnight UTC, also in vain.
    """

    last: datetime | None = None
    refused: bool = False
    today: int = 0


async def note(
    connection: asyncpg.Connection, result: TableResult, rows_in_table: int | None, run: str | None = None
) -> UUID:
    """Note a verification, in the ledger too; those of the table that are older than `KEPT_DAYS` days are forgotten.

    :param result: see `ledger.verified`, like the other parameters.
    :returns: its id, for the differences.
    """
    found = result.verification or Verification("postponed")
    table = result.table
    await connection.execute(_FORGET_OLD, table.namespace, table.table)
    numbers: Sequence[int] = (
        found.rows_compared,
        found.rows_left_out,
        found.rows_kept,
        found.missing,
        found.extra,
        found.different,
    )
    noted: UUID = await connection.fetchval(
        _NOTE,
        table.namespace,
        table.table,
        found.requested,
        found.outcome,
        found.reason,
        datetime.fromisoformat(found.snapshot_as_of) if found.snapshot_as_of else None,
        datetime.fromisoformat(result.data_as_of) if result.data_as_of else None,
        result.job_id,
        *numbers,
        json.dumps(dict(found.columns)),
    )
    await ledger.verified(connection, result, rows_in_table, run)
    return noted


async def history(replica: Replica) -> dict[TableName, History]:
    """The history of each table that is up to date; one that fails is verified when it no longer does.

    :raises Cd2Error: the database cannot be reached, or is not prepared.
    """
    with in_our_words("Reading cd2.verifications"):
        async with connected(replica.target) as connection:
            rows = await connection.fetch(_HISTORY)
    return {TableName(row[0], row[1]): History(*row[2:]) for row in rows}
