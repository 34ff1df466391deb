"""The two jobs of a verification: a snapshot, and then the changes that lead beyond it.

The snapshot is noted in `cd2.verifying`, because `cd2.jobs` has one job for each table: whoever comes next, such as a
restarted triggerer, goes on with it. DAP may refuse repeated snapshots.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from dap.dap_error import NotFoundError

from cd2.replication.errors import FailedJobError, ReinitRequired, TableFailure, TransientError, WaitError

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.dap.session import Job
    from cd2.replication.database.connection import Replica
    from cd2.replication.names import TableName

log = logging.getLogger(__name__)

SNAPSHOT_LIFE_S = 6 * 60 * 60
"""How long a snapshot may wait for its comparison; it stays exact, but the changes since then grow."""
LATER_S = 300.0
"""How long to wait before DAP is asked for changes once more, if they end before the snapshot."""
AGAIN_S = 20 * 60.0

_RECALL = """
SELECT job_id FROM cd2.verifying
WHERE key = $1 AND namespace = $2 AND table_name = $3
    AND noted_at > clock_timestamp() - $4::float8 * interval '1 second'"""
_NOTE = """
WITH moved AS (DELETE FROM cd2.jobs WHERE key = $1 AND namespace = $2 AND table_name = $3)
INSERT INTO cd2.verifying (key, namespace, table_name, job_id, noted_at) VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (key, namespace, table_name) DO UPDATE SET job_id = excluded.job_id, noted_at = excluded.noted_at
RETURNING job_id"""
_DISCARD = "DELETE FROM cd2.jobs WHERE key = $1 AND namespace = $2 AND table_name = $3 RETURNING job_id"
_DISCARD_SNAPSHOT = _DISCARD.replace("cd2.jobs", "cd2.verifying")
_FORGET = "DELETE FROM cd2.verifying WHERE namespace = $1 AND table_name = $2"


async def ask_for_both(
    ask: Callable[[datetime | None], Awaitable[Job]],
    look: Callable[[str], Awaitable[Job]],
    replica: Replica,
    place: tuple[str, TableName],
    cursor: datetime,
) -> tuple[Job, Job]:
    """The finished jobs: a snapshot as of S, and the changes up to S and the cursor, or later.

    The changes begin at the cursor, or at S if that is earlier, as DAP may serve an old snapshot again: in any case
    they name every key that has changed after S.

    :param ask: asks DAP for the changes since then, or for a snapshot (None), and waits for the job.
    :param look: the state of a job.
    :param place: the DAP key's hash, and the table.
    :param cursor: how far the table is replicated.
    :raises WaitError: the changes still end before the snapshot, or before the cursor.
    :raises TableFailure: the snapshot is so old that DAP no longer has the changes since then.
    :raises Cd2Error: DAP refuses, or cannot be reached.
    """
    key, table = place
    row = (key, table.namespace, table.table)
    snapshot = await _noted(look, replica, row)
    if snapshot is None:
        snapshot = await ask(None)
        await replica.row(_NOTE, *row, snapshot.id)
    else:
        log.info("%s: continuing with the snapshot %s of an earlier attempt.", table, snapshot.id)
    as_of = _as_of(snapshot)
    since = min(cursor, as_of)
    try:
        changes = await ask(since)
    except ReinitRequired as required:
        await replica.row(_DISCARD_SNAPSHOT, *row)
        if since == cursor:
            raise
        raise TableFailure(
            f"{table}: DAP served an old snapshot, as of {as_of.isoformat()}, and no longer has the changes since "
            "then: the table cannot be compared with it. Verify it another time.",
            type=required.type,
            uuid=required.uuid,
        ) from None
    least = max(cursor, as_of)
    if _as_of(changes) < least:
        log.info("%s: DAP's changes end too early; asking again in %.0f s.", table, LATER_S)
        await replica.row(_DISCARD, *row)
        await asyncio.sleep(LATER_S)
        changes = await ask(since)
    if _as_of(changes) < least:
        await replica.row(_DISCARD, *row)
        what = "its snapshot" if least == as_of else "the table"
        raise WaitError(
            f"{table}: DAP's changes end at {_as_of(changes).isoformat()}, before {what} as of {least.isoformat()}, so "
            "the two cannot be compared yet: it will be retried.",
            seconds=AGAIN_S,
        )
    return snapshot, changes


async def forget(connection: asyncpg.Connection, table: TableName) -> None:
    """Forget the snapshot of a table: it has been compared, or is useless."""
    await connection.execute(_FORGET, table.namespace, table.table)


async def _noted(look: Callable[[str], Awaitable[Job]], replica: Replica, row: tuple[str, str, str]) -> Job | None:
    noted = await replica.row(_RECALL, *row, float(SNAPSHOT_LIFE_S))
    if noted is None:
        return None
    try:
        job = await look(noted["job_id"])
    except (NotFoundError, FailedJobError):
        return None
    return job if job.done else None


def _as_of(job: Job) -> datetime:
    if job.as_of is None:
        raise TransientError(f"The job {job.id} is not done: it will be retried.")
    return job.as_of
