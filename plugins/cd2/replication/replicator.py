"""How a table is replicated: the page to read first.

Each table goes through three steps, which may run in different processes: read its *cursor*; *ask* DAP and wait until
the job is done; *load* the job. The load is one transaction on one connection, and holds the table's lock from reading
the cursor to the commit: rows, schema, dependents and cursor change together or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from cd2.replication.attempt import Attempt, Reported, already_loaded, decide, models
from cd2.replication.bookkeeping import cursors, freshness, preparation, reports, row_counts, stops
from cd2.replication.bookkeeping.cursors import Cursor
from cd2.replication.bookkeeping.stops import Stop
from cd2.replication.dap import jobs
from cd2.replication.dap.downloads import Downloads
from cd2.replication.dap.jobs import CREATION_TRIES, InLine, JobRequest
from cd2.replication.dap.pacing import LIST_CALLS_PER_MINUTE, OBJECT_CALLS_PER_MINUTE, Pacer
from cd2.replication.dap.session import DapCredentials, DapSession, Job
from cd2.replication.database import sizes
from cd2.replication.database.connection import DatabaseTarget, Replica, connected
from cd2.replication.database.locks import table_lock
from cd2.replication.errors import Cd2Error, ReinitRequired, StopAll, TransientError
from cd2.replication.failures import in_our_words
from cd2.replication.load.guard import Guard, keeps_what_is_gone
from cd2.replication.load.load import Load
from cd2.replication.load.rows import JobRows, Progress
from cd2.replication.names import TableName
from cd2.replication.results import Action, Freshness, TableResult
from cd2.replication.schema import alter
from cd2.replication.schema.alter import Alteration
from cd2.replication.schema.plan import plan_changes
from cd2.replication.verification.verifier import Verifier

log = logging.getLogger(__name__)


def log_progress(progress: Progress) -> None:
    """Log how far a long load is."""
    log.info("%s", progress)


class Replicator:
    """Replicates the tables of one DAP account into one database.

    :param credentials: the DAP key.
    :param target: the replica.
    :param job_creations_per_minute: DAP's limit for the key.
    :param progress: called about every ten seconds during a load.
    :param pooled: how many database connections the waits of many tables share; such a replicator must be closed.
        0: each wait opens its own, and its own session at DAP.
    :param max_shrink: how many percent of a table's rows a load may delete (`cd2.replication.load.guard`).
    """

    def __init__(
        self,
        credentials: DapCredentials,
        target: DatabaseTarget,
        job_creations_per_minute: int,
        progress: Callable[[Progress], None] = log_progress,
        pooled: int = 0,
        max_shrink: float = Guard.max_shrink,
    ) -> None:
        self._credentials = credentials
        self._target = target
        self._progress = progress
        self._replica = Replica(target, pooled)
        self._shares = pooled > 0
        self._max_shrink = max_shrink
        self._shared: DapSession | None = None
        self._pacer = Pacer(
            self._replica,
            credentials.client_id,
            {
                "data": job_creations_per_minute,
                "list": max(LIST_CALLS_PER_MINUTE, job_creations_per_minute),
                "object": max(OBJECT_CALLS_PER_MINUTE, job_creations_per_minute),
            },
        )
        steps = (self.load, self._finished_job, self._asking, self._session)
        self.verification = Verifier(*steps, self._replica, self._pacer.key, self._guard, progress)

    # -- for all tables ----------------------------------------------------------------------------

    async def prepare(self, namespaces: Iterable[str]) -> None:
        """Create schemas and bookkeeping, before tables are replicated in parallel.

        :raises Cd2Error: the database cannot be reached, or a privilege is missing.
        """
        with in_our_words(f"Preparing {self._target}"):
            async with self._connection() as connection:
                await preparation.prepare(self._target, connection, namespaces)

    async def list_tables(self, namespace: str) -> list[TableName]:
        """The tables that DAP offers in a namespace, sorted.

        :raises Cd2Error: DAP refuses or cannot be reached.
        """
        with in_our_words(f"Listing the tables of {namespace}"):
            async with self._session() as session:
                return sorted(TableName(namespace, table) for table in await session.get_tables(namespace))

    async def sizes(self, namespaces: Iterable[str]) -> dict[TableName, int]:
        """About how many bytes the tables of the replica have, as far as PostgreSQL knows.

        :raises Cd2Error: the database cannot be reached.
        """
        with in_our_words("Reading the sizes of the tables"):
            async with self._connection() as connection:
                return await sizes.read(connection, namespaces)

    async def freshness(self) -> dict[TableName, Freshness]:
        """How fresh each table is.

        :raises Cd2Error: the database cannot be reached, or is not prepared.
        """
        with in_our_words("Reading cd2.freshness"):
            async with self._connection() as connection:
                return await freshness.read(connection)

    async def stop(self, run: str, failure: StopAll) -> None:
        """Note what stops all tables of a run, so that those that wait in another process stop too."""
        with in_our_words(f"Stopping {run}"):
            await stops.note(self._replica, run, failure)

    async def stopped(self, runs: Collection[str]) -> dict[str, Stop]:
        """Which of these runs have been stopped by `stop`."""
        with in_our_words("Reading cd2.stops"):
            return await stops.read(self._replica, runs)

    async def claim_late_report(self, run: str) -> bool:
        """Whether the caller is the first to report this run as late.

        :raises Cd2Error: the database cannot be reached.
        """
        with in_our_words(f"Noting that {run} is late"):
            return await reports.claim(self._replica, run)

    async def close(self) -> None:
        """Close what the waits of many tables share."""
        if self._shared is not None:
            await self._shared.close()
        await self._replica.close()

    def job_url(self, job_id: str) -> str:
        """The URL of a job at DAP; opening it requires the DAP key."""
        return f"{self._credentials.base_url}/dap/job/{job_id}"

    # -- for one table, in this order --------------------------------------------------------------

    async def cursor(self, table: TableName) -> datetime | None:
        """Up to when a table holds the data of DAP (UTC); None: it needs an init.

        :raises Cd2Error: the database cannot be reached.
        """
        with in_our_words(f"{table}: reading its cursor"):
            return await cursors.since(self._replica, table)

    async def ask(
        self,
        table: TableName,
        since: datetime | None,
        *,
        tries: int = CREATION_TRIES,
        place: InLine | None = None,
        given_up: datetime | None = None,
    ) -> str:
        """Take a turn, ask DAP for the changes since `since` (None: all rows), and wait until the job is done.

        The turn or the job of an earlier attempt is used if it has not expired.

        :param tries: how often to ask while DAP answers 429.
        :param place: in the line of the tables that wait in this process.
        :param given_up: a job that was asked for before this moment, and is not done, is given up for a new one.
        :returns: the job's id.
        :raises Cd2Error: what went wrong, in our words.
        """
        with in_our_words(f"{table}: asking DAP"):
            async with self._asking() as session:
                return (await self._finished_job(session, table, since, tries, place, given_up)).id

    async def load(
        self,
        table: TableName,
        job_id: str,
        action: Action,
        *,
        requested: bool = True,
        last_try: bool = False,
        accept_shrink: bool = False,
    ) -> TableResult:
        """Load a finished job.

        :param action: sync or init; an init of a table that exists becomes a re-init.
        :param requested: whether a person requested the init; an automatic one counts towards the daily limit.
        :param last_try: no other try follows if this one fails.
        :param accept_shrink: a person has confirmed that many rows go.
        :returns: state complete, complete_with_schema_update, initialized, or needs_init.
        :raises Cd2Error: what went wrong, in our words; the replica is unchanged.
        """
        attempt = Attempt(table, action, job_id, last_try)
        async with self._reported(attempt):
            try:
                with in_our_words(attempt.what):
                    async with self._session() as session:
                        return await self._load(attempt, session, await session.job(job_id), requested, accept_shrink)
            except ReinitRequired as required:
                if action != "sync":
                    raise
                return await self._needs_init(attempt, required)

    async def failed(
        self, table: TableName, action: Action, failure: Cd2Error, *, last_try: bool = False
    ) -> TableResult:
        """The outcome of a table whose `ask` failed.

        :param last_try: no other try follows this one.
        :returns: state needs_init, if a new snapshot helps.
        :raises Cd2Error: the failure, with the table's result in it.
        """
        attempt = Attempt(table, action, last_try=last_try)
        async with self._reported(attempt):
            if isinstance(failure, ReinitRequired) and action == "sync":
                return await self._needs_init(attempt, failure)
            raise failure

    # -- inside ------------------------------------------------------------------------------------

    async def _load(
        self, attempt: Attempt, session: DapSession, job: Job, requested: bool, accept_shrink: bool
    ) -> TableResult:
        """Load a finished job in one transaction; the table's lock is held from reading the cursor to the commit."""
        table = attempt.table
        if job.as_of is None:
            raise TransientError(f"{table}: the job {job.id} is not done yet: it will be retried.")
        async with self._connection() as connection, table_lock(connection, table):
            before = await cursors.read(connection, table)
            if already_loaded(table, job, before):
                await jobs.forget(connection, table)
                await freshness.up_to_date(connection, table, job.as_of)
                return attempt.result("complete", before)
            log.info("%s: %s", table, job)
            async with (
                Downloads(session, job.objects, connection) as objects,
                JobRows(objects.download, job, table, attempt.tally, self._progress) as rows,
            ):
                described = await session.schema(table)
                model, delivered = models(table, job, described, before, rows.columns)
                plan = await plan_changes(connection, model, before.description if before else None)
                attempt = replace(attempt, action=decide(table, job, plan))
                async with self._reported(attempt):
                    if plan.additive:
                        await alter.add(connection, plan.additive, table, [column.name for column in model.columns])
                    after = Cursor(job.as_of, model.version, model.description)
                    async with connection.transaction():
                        alteration = Alteration(connection, table, plan.touched, plan.leftovers)
                        found = (before.since if before else None, await row_counts.done(connection, table))
                        guard = self._guard(table, accept_shrink)
                        load = Load(connection, plan, delivered, rows, alteration, guard)
                        applied = await load.run(attempt.action)
                        await row_counts.note_load(connection, table, attempt.action, found, after.since)
                        await cursors.write(connection, table, after)
                        await jobs.forget(connection, table)
                        await freshness.up_to_date(connection, table, after.since, reinitialized=not requested)
        altered = alteration.altered or plan.additive is not None
        return attempt.loaded(before, after, applied, altered, (*model.notes, *alteration.notes))

    async def _needs_init(self, attempt: Attempt, required: ReinitRequired) -> TableResult:
        log.warning("%s", required.message)
        async with self._connection() as connection:
            await jobs.forget(connection, attempt.table)
            await freshness.check_reinit(connection, attempt.table, required)
        return attempt.result("needs_init", error=required)

    def _reported(self, attempt: Attempt) -> Reported:
        return Reported(self._target, attempt)

    def _guard(self, table: TableName, accept_shrink: bool) -> Guard:
        return Guard(self._max_shrink, accept_shrink, keeps_what_is_gone(table))

    async def _finished_job(self, session: DapSession, table: TableName, since: datetime | None, *how: Any) -> Job:
        return await JobRequest(session, self._pacer, self._replica, table, since, *how).finished_job()

    def _connection(self) -> connected:
        return connected(self._target)

    def _asking(self) -> AbstractAsyncContextManager[DapSession, None]:
        if not self._shares:
            return self._session()
        self._shared = self._shared or self._session()
        return nullcontext(self._shared)

    def _session(self) -> DapSession:
        return DapSession(self._credentials, self._pacer)
