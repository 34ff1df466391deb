"""Getting a table's job done: take a turn, ask, wait. No worker slot and no database connection is held meanwhile.

What was asked for is noted in `cd2.jobs`. Whoever comes next for the same table - a retry, a cleared task, a triggerer
that was started again - keeps the turn it had, or goes on with the job that DAP works on already: a new one would cost
one of the few creations a minute.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from datetime import UTC, datetime
from typing import Any

import asyncpg
from dap.dap_error import NotFoundError

from cd2.errors import Cd2Error, StopAll, TransientError, WaitError
from cd2.replication.api import TOO_MANY_REQUESTS, DapSession, FailedJobError, Job
from cd2.replication.connection import DatabaseTarget, connect
from cd2.replication.pacing import Pacer

log = logging.getLogger(__name__)

CREATION_TRIES = 3
"""How often a job is asked for while DAP answers 429, unless the caller has more patience."""
POLL_S = (1.0, 1.5, 2.0, 3.0, 5.0)
POLLS_TO_TELL = 12
"""Looks at a job between two lines in the log: about a minute."""
POLL_TRIES = 4
"""How many looks in a row may fail with an error of the service."""
JOB_DEADLINE_S = 6 * 60 * 60
"""The longest we wait for one job; the official client polls a hung one for ever."""
JOB_LIFE_S = 6 * 60 * 60
"""An older job is asked for anew: its data would be old, and DAP keeps jobs for a day only."""
CHANGES_LIFE_S = 60 * 60
"""The same for changes, which are cheap to ask for again; DAP may refuse repeated snapshots."""
TURN_LIFE_S = 60
"""A turn that passed so many seconds ago was taken back by time: others have gone on."""

CREATE_JOBS = """
CREATE TABLE IF NOT EXISTS cd2.jobs (
    key text NOT NULL,
    namespace text NOT NULL,
    table_name text NOT NULL,
    since timestamp,
    turn timestamptz NOT NULL,
    job_id text,
    PRIMARY KEY (key, namespace, table_name)
)"""

_RECALL = """
SELECT job_id, extract(epoch FROM turn - clock_timestamp())::float8 AS wait FROM cd2.jobs
WHERE key = $1 AND namespace = $2 AND table_name = $3 AND since IS NOT DISTINCT FROM $4
    AND turn > clock_timestamp() - CASE WHEN job_id IS NULL THEN $5::float8 ELSE $6::float8 END * interval '1 second'"""

_QUEUE = """
INSERT INTO cd2.jobs (key, namespace, table_name, since, turn)
VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 second')
ON CONFLICT (key, namespace, table_name) DO UPDATE SET since = excluded.since, turn = excluded.turn, job_id = NULL"""

_NOTE = "UPDATE cd2.jobs SET job_id = $4 WHERE key = $1 AND namespace = $2 AND table_name = $3"

_FORGET = "DELETE FROM cd2.jobs WHERE namespace = $1 AND table_name = $2"


USELESS = ("HungJob", "DamagedObject")
"""Types of failures that the same job would meet again, although another may not."""


def keeps_its_job(failure: Cd2Error) -> bool:
    """Whether the next attempt may go on with the job, or had better ask for another one."""
    passing = isinstance(failure, TransientError) and not isinstance(failure, FailedJobError)
    return (passing and failure.type not in USELESS) or isinstance(failure, StopAll)


async def forget(connection: asyncpg.Connection, namespace: str, table: str) -> None:
    """Its rows are loaded (in the caller's transaction, so that nobody loads them again or loses them), or useless."""
    await connection.execute(_FORGET, namespace, table)


class Asking:
    """Asks DAP for one table's rows or changes.

    :param since: the changes since then (UTC); None: all rows.
    :param tries: how often to ask while DAP answers 429.
    """

    def __init__(
        self,
        session: DapSession,
        pacer: Pacer,
        target: DatabaseTarget,
        namespace: str,
        table: str,
        since: datetime | None,
        tries: int = CREATION_TRIES,
    ) -> None:
        self._session = session
        self._pacer = pacer
        self._target = target
        self._namespace = namespace
        self._table = table
        self._since = since
        # As `instructure_dap.table_sync` keeps it.
        self._naive_since = since.astimezone(UTC).replace(tzinfo=None) if since else None
        self._tries = tries

    async def finished_job(self, job_id: str | None = None) -> Job:
        """A job with all that was asked for, done.

        :param job_id: one that was asked for before; another is asked for if it is of no use any more.
        :raises WaitError: DAP went on answering 429; another program may use the same key.
        :raises TransientError: the job failed (FailedJobError), or is not done after `JOB_DEADLINE_S` seconds.
        :raises ReinitRequired, TableFailure, StopAll: as DAP answers.
        """
        wait: float | None = None
        if job_id is None:
            job_id, wait = await self._recall()
        job = await self._pick_up(job_id) if job_id else None
        return await self._finished(job or await self._start(wait))

    # -- asking ----------------------------------------------------------------------------------

    async def _pick_up(self, job_id: str) -> Job | None:
        try:
            job = await self._session.job(job_id)
        except (NotFoundError, FailedJobError) as gone:
            log.info("%s: job %s is of no use any more (%s).", self._name, job_id, type(gone).__name__)
            return None
        log.info("%s: goes on with job %s, which was asked for before.", self._name, job_id)
        return job

    async def _start(self, wait: float | None) -> Job:
        """:param wait: seconds until the turn that an earlier attempt took; None: there is none."""
        for remaining in reversed(range(self._tries)):
            if wait is None:
                wait = await self._pacer.reserve("data")
                await self._note(_QUEUE, self._naive_since, wait)
            await self._pacer.wait("data", max(0.0, wait))
            wait = None
            try:
                job = await self._session.start(self._namespace, self._table, self._since)
            except WaitError as refused:
                if not remaining or refused.type != TOO_MANY_REQUESTS:
                    raise
                log.info("%s: %s", self._name, refused.message)
            else:
                await self._note(_NOTE, job.id)
                return job
        raise AssertionError("unreachable")

    # -- waiting ---------------------------------------------------------------------------------

    async def _finished(self, job: Job) -> Job:
        deadline = asyncio.timeout(JOB_DEADLINE_S)
        try:
            async with deadline:
                failures = 0
                for turn in itertools.count():
                    if job.done:
                        break
                    if turn % POLLS_TO_TELL == POLLS_TO_TELL - 1:
                        log.info("%s: DAP is still working on job %s.", self._name, job.id)
                    await asyncio.sleep(POLL_S[min(turn, len(POLL_S) - 1)])
                    try:
                        job = await self._session.job(job.id)
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
            if not deadline.expired():  # but an answer took too long
                raise
            raise TransientError(
                f"{self._name}: the DAP job {job.id} is not done after {JOB_DEADLINE_S // 3600} h: it is asked for "
                "again.",
                type="HungJob",
            ) from None
        return job

    # -- what is noted ---------------------------------------------------------------------------

    async def _recall(self) -> tuple[str | None, float | None]:
        """The job that is under way for this question, or the seconds until the turn that was taken for it."""
        life_s = JOB_LIFE_S if self._since is None else CHANGES_LIFE_S
        connection = await connect(self._target)
        try:
            row = await connection.fetchrow(_RECALL, *self._row, self._naive_since, TURN_LIFE_S, life_s)
        finally:
            await connection.close()
        if row is None:
            return None, None
        return row["job_id"], None if row["job_id"] else row["wait"]

    async def _note(self, statement: str, *values: Any) -> None:
        connection = await connect(self._target)
        try:
            await connection.execute(statement, *self._row, *values)
        finally:
            await connection.close()

    @property
    def _row(self) -> tuple[str, str, str]:
        return self._pacer.key, self._namespace, self._table

    @property
    def _name(self) -> str:
        return f"{self._namespace}.{self._table}"
