"""From a question to DAP to a finished job: take a turn, ask, wait. No worker slot or database connection is held.

The turn and the job are noted in `cd2.jobs`. Whoever comes next for the same table - a retry, a cleared task, a
restarted triggerer - keeps the turn, or resumes with the job that DAP is already working on: a new job would cost one
of the few creations a minute.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dap.dap_error import NotFoundError

from cd2.replication.dap.pacing import TAKE_TURN
from cd2.replication.dap.session import TOO_MANY_REQUESTS, Job
from cd2.replication.errors import Cd2Error, FailedJobError, StopAll, TransientError, WaitError

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.dap.pacing import Pacer
    from cd2.replication.dap.session import DapSession
    from cd2.replication.database.connection import Replica
    from cd2.replication.names import TableName

log = logging.getLogger(__name__)

CREATION_TRIES = 3
"""How often to ask while DAP answers 429, unless the caller sets it."""
POLL_S = (1.0, 1.5, 2.0, 3.0, 5.0)
POLLS_PER_LOG_LINE = 12
"""Polls between two log lines: about a minute."""
POLL_TRIES = 4
"""How many polls in a row may fail with a server error."""
JOB_DEADLINE_S = 6 * 60 * 60
"""The longest wait for one job; the official client polls a hung one forever."""
JOB_LIFE_S = 6 * 60 * 60
"""A snapshot older than this is not reused: its data is old, and DAP keeps jobs for one day only."""
CHANGES_LIFE_S = 60 * 60
"""The same for an incremental, which is cheap to repeat; DAP may refuse repeated snapshots."""
TURN_LIFE_S = 60
"""A turn that was due this long ago has expired: others have taken theirs since."""

_RECALL_OR_QUEUE = f"""
WITH known AS (
    SELECT job_id, turn FROM cd2.jobs
    WHERE $8 AND key = $1 AND namespace = $4 AND table_name = $5 AND since IS NOT DISTINCT FROM $6::timestamp
        AND turn > clock_timestamp()
            - CASE WHEN job_id IS NULL THEN {TURN_LIFE_S} ELSE $7::float8 END * interval '1 second'
), taken AS ({TAKE_TURN.format(condition="WHERE NOT EXISTS (SELECT FROM known)")}
), noted AS (
    INSERT INTO cd2.jobs (key, namespace, table_name, since, turn) SELECT $1, $4, $5, $6, turn FROM taken
    ON CONFLICT (key, namespace, table_name) DO UPDATE SET since = excluded.since, turn = excluded.turn, job_id = NULL
)
SELECT job_id, greatest(0, extract(epoch FROM turn - clock_timestamp()))::float8 AS wait
FROM (SELECT job_id, turn FROM known UNION ALL SELECT NULL, turn FROM taken) found"""
"""The job or the turn of an earlier attempt with the same question; otherwise takes a turn and notes it."""

_NOTE = "UPDATE cd2.jobs SET job_id = $4 WHERE key = $1 AND namespace = $2 AND table_name = $3 RETURNING job_id"

_FORGET = "DELETE FROM cd2.jobs WHERE namespace = $1 AND table_name = $2"


USELESS = ("HungJob", "DamagedObject")
"""Types of failures that the same job would cause again, but a new one may not."""


def keeps_its_job(failure: Cd2Error) -> bool:
    """Whether the next attempt should resume with the same job; otherwise it asks for a new one."""
    temporary = isinstance(failure, TransientError) and not isinstance(failure, FailedJobError)
    return (temporary and failure.type not in USELESS) or isinstance(failure, StopAll)


async def forget(connection: asyncpg.Connection, table: TableName) -> None:
    """Delete the note of a table's job, which is loaded or useless.

    Runs in the caller's transaction, so that its rows are loaded exactly once.
    """
    await connection.execute(_FORGET, table.namespace, table.table)


@dataclass(frozen=True)
class JobRequest:
    """One question to DAP: for a table's snapshot, or for its changes.

    :param since: the changes since then (UTC); None: a snapshot.
    :param tries: how often to ask while DAP answers 429.
    """

    session: DapSession
    pacer: Pacer
    replica: Replica
    table: TableName
    since: datetime | None
    tries: int = CREATION_TRIES

    async def finished_job(self) -> Job:
        """The finished job.

        :raises WaitError: DAP kept answering 429; another program may use the same key.
        :raises TransientError: the job failed (FailedJobError), or is not done after `JOB_DEADLINE_S` seconds.
        :raises ReinitRequired, TableFailure, StopAll: DAP refuses.
        """
        job_id, wait = await self._recall_or_queue()
        if job_id and (job := await self._pick_up(job_id)):
            return await self._finished(job)
        return await self._finished(await self._start(None if job_id else wait))

    # -- asking ----------------------------------------------------------------------------------

    async def _pick_up(self, job_id: str) -> Job | None:
        try:
            job = await self.session.job(job_id)
        except (NotFoundError, FailedJobError) as gone:
            log.info("%s: job %s can no longer be used (%s).", self.table, job_id, type(gone).__name__)
            return None
        log.info("%s: resuming with job %s of an earlier attempt.", self.table, job_id)
        return job

    async def _start(self, wait: float | None) -> Job:
        """Create a job at DAP.

        :param wait: seconds until the turn that is taken; None: none is.
        """
        remaining = self.tries
        while True:
            if wait is None:
                _, wait = await self._recall_or_queue(recall=False)
            await self.pacer.wait("data", wait)
            wait = None
            remaining -= 1
            try:
                job = await self.session.start(self.table, self.since)
            except WaitError as refused:
                if not remaining or refused.type != TOO_MANY_REQUESTS:
                    raise
                log.info("%s: %s", self.table, refused.message)
            else:
                await self.replica.row(_NOTE, self.pacer.key, self.table.namespace, self.table.table, job.id)
                return job

    # -- waiting ---------------------------------------------------------------------------------

    async def _finished(self, job: Job) -> Job:
        deadline = asyncio.timeout(JOB_DEADLINE_S)
        try:
            async with deadline:
                failures = 0
                for poll in itertools.count():
                    if job.done:
                        break
                    if poll % POLLS_PER_LOG_LINE == POLLS_PER_LOG_LINE - 1:
                        log.info("%s: DAP is still working on job %s.", self.table, job.id)
                    await asyncio.sleep(POLL_S[min(poll, len(POLL_S) - 1)])
                    try:
                        job = await self.session.job(job.id)
                        failures = 0
                    except FailedJobError:
                        raise
                    except WaitError as busy:
                        await asyncio.sleep(busy.seconds)
                    except TransientError:
                        failures += 1
                        if failures >= POLL_TRIES:
                            raise
        except TimeoutError:
            if not deadline.expired():  # a single response took too long
                raise
            raise TransientError(
                f"{self.table}: the DAP job {job.id} is not done after {JOB_DEADLINE_S // 3600} h: "
                "the retry asks for a new one.",
                type="HungJob",
            ) from None
        return job

    # -- what is noted ---------------------------------------------------------------------------

    async def _recall_or_queue(self, *, recall: bool = True) -> tuple[str | None, float]:
        """The job of an earlier attempt with the same question, or the seconds until our turn.

        :param recall: False: take a new turn, whatever is noted.
        """
        since = self.since.astimezone(UTC).replace(tzinfo=None) if self.since else None  # as the client keeps it
        life_s = JOB_LIFE_S if since is None else CHANGES_LIFE_S
        row = await self.replica.row(
            _RECALL_OR_QUEUE,
            self.pacer.key,
            "data",
            self.pacer.interval_s["data"],
            self.table.namespace,
            self.table.table,
            since,
            life_s,
            recall,
        )
        return (row["job_id"], row["wait"]) if row else (None, 0.0)
