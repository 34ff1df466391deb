"""From a question to DAP to a finished job: take a turn, ask, wait. No worker slot or database connection is held.

The turn and the job are noted in `cd2.jobs`. Whoever comes next for the same table - a retry, a cleared task, a
restarted triggerer - keeps the turn, or resumes with the job that DAP is already working on: a new job would cost one
of the few creations a minute.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cd2.replication.dap.pacing import TAKE_TURN
from cd2.replication.dap.session import TOO_MANY_REQUESTS, Job
from cd2.replication.errors import OLDER_SCHEMA, Cd2Error, FailedJobError, StopAll, TransientError, WaitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
"""The longest wait for a snapshot; the official client polls a job that hangs forever."""
CHANGES_DEADLINE_S = 60 * 60
"""The longest wait for an incremental, which takes minutes."""
UNFINISHED_LIFE_S = 30 * 60
"""A job that is older and still not done may hang: whoever comes next asks anew. If it is well, DAP answers with it."""
JOB_LIFE_S = 6 * 60 * 60
"""A snapshot older than this is not reused: its data is old, and DAP keeps jobs for one day only."""
CHANGES_LIFE_S = 60 * 60
"""The same for an incremental, which is cheap to repeat; DAP may refuse repeated snapshots."""
InLine = AbstractAsyncContextManager[None, None]
"""A place in the line of the tables that wait in this process (`cd2.replication.waits.Line`)."""
TURN_LIFE_S = 60
"""A turn that was due this long ago has expired: others have taken theirs since."""

_RECALL = f"""
SELECT job_id, turn, greatest(0, extract(epoch FROM turn - clock_timestamp()))::float8 AS wait,
    turn < clock_timestamp() - {UNFINISHED_LIFE_S} * interval '1 second' AS old FROM cd2.jobs
WHERE key = $1 AND namespace = $2 AND table_name = $3 AND since IS NOT DISTINCT FROM $4::timestamp
    AND turn > clock_timestamp()
        - CASE WHEN job_id IS NULL THEN {TURN_LIFE_S} ELSE $5::float8 END * interval '1 second'"""

_QUEUE = f"""
WITH taken AS ({TAKE_TURN}
), noted AS (
    INSERT INTO cd2.jobs (key, namespace, table_name, since, turn) SELECT $1, $5, $6, $7, turn FROM taken
    ON CONFLICT (key, namespace, table_name) DO UPDATE SET since = excluded.since, turn = excluded.turn, job_id = NULL
)
SELECT greatest(0, extract(epoch FROM turn - clock_timestamp()))::float8 AS wait FROM taken"""
"""Takes a turn and notes it."""

_NOTE = "UPDATE cd2.jobs SET job_id = $4 WHERE key = $1 AND namespace = $2 AND table_name = $3 RETURNING job_id"

_FORGET = "DELETE FROM cd2.jobs WHERE namespace = $1 AND table_name = $2"


USELESS = ("HungJob", "DamagedObject", "NotFound", OLDER_SCHEMA)
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
    :param place: in the line of the tables that wait in this process; given up when DAP has been asked.
    :param given_up: a job that was asked for before this moment, and is not done, is given up for a new one.
    :param created: called when DAP has created a job.
    """

    session: DapSession
    pacer: Pacer
    replica: Replica
    table: TableName
    since: datetime | None
    tries: int = CREATION_TRIES
    place: InLine | None = None
    given_up: datetime | None = None
    created: Callable[[], Awaitable[None]] | None = None

    async def finished_job(self) -> Job:
        """The finished job.

        :raises WaitError: DAP kept answering 429; another program may use the same key.
        :raises TransientError: the job failed or is gone (FailedJobError), or is not done after `JOB_DEADLINE_S` or
            `CHANGES_DEADLINE_S` seconds.
        :raises ReinitRequired, TableFailure, StopAll: DAP refuses.
        """
        noted = await self._recall()
        job = await self._pick_up(noted) if noted and noted["job_id"] else None
        wait = noted["wait"] if noted and not noted["job_id"] else None
        if job is None and wait is not None:
            job = await self._start(wait)
        elif job is None:
            async with self.place or nullcontext():
                job = await self._start(None)
        return await self._finished(job)

    # -- asking ----------------------------------------------------------------------------------

    async def _pick_up(self, noted: asyncpg.Record) -> Job | None:
        """The noted job, unless it is gone, or may hang."""
        job_id = noted["job_id"]
        try:
            job = await self.session.job(job_id)
        except FailedJobError as gone:
            log.info("%s: job %s can no longer be used: %s", self.table, job_id, gone.message)
            return None
        if not job.done and (noted["old"] or (self.given_up and noted["turn"] < self.given_up)):
            log.warning(
                "%s: job %s was requested at %s and is not done: asking DAP again.",
                self.table,
                job_id,
                f"{noted['turn']:%Y-%m-%d %H:%M:%S} UTC",
            )
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
                wait = await self._queue()
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
                if self.created:
                    await self.created()
                return job

    # -- waiting ---------------------------------------------------------------------------------

    async def _finished(self, job: Job) -> Job:
        limit_s = JOB_DEADLINE_S if self.since is None else CHANGES_DEADLINE_S
        deadline = asyncio.timeout(limit_s)
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
                f"{self.table}: the DAP job {job.id} is not done after {limit_s // 3600} h: "
                "the retry asks for a new one.",
                type="HungJob",
            ) from None
        return job

    # -- what is noted ---------------------------------------------------------------------------

    async def _recall(self) -> asyncpg.Record | None:
        """The turn or the job of an earlier attempt with the same question."""
        life_s = JOB_LIFE_S if self.since is None else CHANGES_LIFE_S
        place = (self.pacer.key, self.table.namespace, self.table.table)
        return await self.replica.row(_RECALL, *place, self._naive_since, life_s)

    async def _queue(self) -> float:
        """Take a turn and note it: the seconds until then."""
        place = (self.table.namespace, self.table.table, self._naive_since)
        row = await self.replica.row(_QUEUE, *self.pacer.clock("data"), *place)
        return float(row["wait"]) if row else 0.0

    @property
    def _naive_since(self) -> datetime | None:
        """As `instructure_dap.table_sync` keeps it."""
        return self.since.astimezone(UTC).replace(tzinfo=None) if self.since else None
