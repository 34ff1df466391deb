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

from cd2.replication.asking import Question
from cd2.replication.attempt import Attempt, Reported, already_loaded, by_its_schema, changes_since, decide, models
from cd2.replication.bookkeeping import cursors, freshness, ledger, preparation, runs
from cd2.replication.bookkeeping.cursors import Cursor
from cd2.replication.bookkeeping.runs import Stop
from cd2.replication.constraints.refused import told
from cd2.replication.dap import jobs, schemas
from cd2.replication.dap.downloads import Downloads
from cd2.replication.dap.jobs import CREATION_TRIES, InLine
from cd2.replication.dap.pacing import Pacer, limits
from cd2.replication.dap.session import DapCredentials, DapSession, Job
from cd2.replication.database import sizes
from cd2.replication.database.connection import DatabaseTarget, Replica, connected
from cd2.replication.database.locks import table_lock
from cd2.replication.errors import Cd2Error, ReinitRequired, StopAll, TransientError
from cd2.replication.failures import in_our_words
from cd2.replication.load.guard import Guard
from cd2.replication.load.load import Load
from cd2.replication.load.rows import JobRows, Progress, log_progress
from cd2.replication.names import TableName
from cd2.replication.results import Action, Freshness, TableResult
from cd2.replication.schema import alter
from cd2.replication.schema.alter import Alteration
from cd2.replication.schema.plan import plan_changes

log = logging.getLogger(__name__)


class Replicator:
    """Replicates the tables of one DAP account into one database.

    :param credentials: the DAP key.
    :param target: the replica.
    :param job_creations_per_minute: DAP's limit for the key.
    :param progress: called about every ten seconds during a load.
    :param pooled: how many database connections the waits of many tables share; such a replicator must be closed.
        0: each wait opens its own, and its own session at DAP.
    :param append_only: patterns of tables that are only ever added to.
    :param max_shrink: how many percent of a table's rows a load may delete (`cd2.replication.load.guard`).
    """

    def __init__(
        self,
        credentials: DapCredentials,
        target: DatabaseTarget,
        job_creations_per_minute: int,
        progress: Callable[[Progress], None] = log_progress,
        pooled: int = 0,
        append_only: Collection[str] = (),
        max_shrink: float = Guard.max_shrink,
    ) -> None:
        self._credentials = credentials
        self._target = target
        self.progress = progress
        self._replica = Replica(target, pooled)
        self._shares = pooled > 0
        self.append_only = append_only
        self.guard = Guard(max_shrink)
        self._shared: DapSession | None = None
        self.pacer = Pacer(self._replica, credentials.client_id, limits(job_creations_per_minute))

    @property
    def replica(self) -> Replica:
        """The replica, for single statements: what reads the ledger, what looks for unlisted tables."""
        return self._replica

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
            async with self.session() as session:
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
            await runs.stop(self._replica, run, failure)

    async def stopped(self, ids: Collection[str]) -> dict[str, Stop]:
        """Which of these runs have been stopped by `stop`."""
        with in_our_words("Reading cd2.stops"):
            return await runs.stopped(self._replica, ids)

    async def claim_late_report(self, run: str) -> bool:
        """Whether the caller is the first to report this run as late.

        :raises Cd2Error: the database cannot be reached.
        """
        with in_our_words(f"Noting that {run} is late"):
            return await runs.claim_late_report(self._replica, run)

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
        requested: bool = True,
    ) -> str:
        """Take a turn, ask DAP for the changes since `since` (None: all rows), and wait until the job is done.

        The turn or the job of an earlier attempt is used if it has not expired.

        :param tries: how often to ask while DAP answers 429.
        :param place: in the line of the tables that wait in this process.
        :param given_up: a job that was asked for before this moment, and is not done, is given up for a new one.
        :param requested: whether a person requested the snapshot; an automatic one counts towards the daily limit.
        :returns: the job's id.
        :raises Cd2Error: what went wrong, in our words.
        """
        question = Question(self.pacer, self._replica, table, since, tries, place, given_up, requested)
        return await question.finished_job(self.asking)

    async def load(
        self,
        table: TableName,
        job_id: str,
        action: Action,
        *,
        requested: bool = True,
        last_try: bool = False,
        run: str | None = None,
        accept_shrink: bool = False,
    ) -> TableResult:
        """Load a finished job.

        :param action: sync or init; an init of a table that exists becomes a re-init.
        :param requested: whether a person requested the init.
        :param last_try: no other try follows if this one fails.
        :param run: the id of the run, for the ledger.
        :param accept_shrink: a person has confirmed that many rows go.
        :returns: state complete, complete_with_schema_update, initialized, or needs_init.
        :raises Cd2Error: what went wrong, in our words; the replica is unchanged.
        """
        attempt = Attempt(table, action, job_id, last_try, run, requested, accept_shrink)
        async with self._reported(attempt):
            try:
                with in_our_words(attempt.what):
                    async with self.session() as session:
                        return await self._load(attempt, session, await session.job(job_id))
            except ReinitRequired as required:
                if action != "sync":
                    raise
                return await self._needs_init(attempt, required)

    async def failed(
        self, table: TableName, action: Action, failure: Cd2Error, *, last_try: bool = False, run: str | None = None
    ) -> TableResult:
        """The outcome of a table whose `ask` failed.

        :param last_try: no other try follows this one.
        :returns: state needs_init, if a new snapshot helps.
        :raises Cd2Error: the failure, with the table's result in it.
        """
        attempt = Attempt(table, action, last_try=last_try, run=run)
        async with self._reported(attempt):
            if isinstance(failure, ReinitRequired) and action == "sync":
                return await self._needs_init(attempt, failure)
            raise failure

    # -- inside ------------------------------------------------------------------------------------

    async def _load(self, attempt: Attempt, session: DapSession, job: Job) -> TableResult:
        """Load a finished job in one transaction; the table's lock is held from reading the cursor to the commit."""
        table = attempt.table
        if job.as_of is None:
            raise TransientError(f"{table}: the job {job.id} is not done yet: it will be retried.")
        async with self._connection() as connection, table_lock(connection, table):
            before = await cursors.read(connection, table)
            if already_loaded(table, job, before):
                await jobs.forget(connection, table)
                result = attempt.result("complete", before)
                await ledger.loaded(connection, result, run=attempt.run)
                return result
            log.info("%s: %s", table, job)
            async with (
                Downloads(session, job.objects, connection) as objects,
                JobRows(objects.download, job, table, attempt.tally, self.progress) as rows,
            ):
                least, previous = (before.schema_version, before.description) if before else (0, None)
                described = await schemas.described(session, connection, table, job, least)
                model, delivered = models(table, job, described, before, rows.columns)
                keep = table.matches(self.append_only)
                plan = await plan_changes(connection, model, previous, previous_version=least, keep_columns=keep)
                attempt = replace(attempt, action=decide(table, job, plan, before))
                async with self._reported(attempt), told(connection, table, attempt.what):
                    if plan.additive:
                        await alter.add(connection, plan.additive, table, [column.name for column in model.columns])
                    after = Cursor(job.as_of, model.version, model.description)
                    changes = changes_since(before, model, plan.kept)
                    async with by_its_schema(connection, table, job, model), connection.transaction():
                        alteration = Alteration(connection, table, plan.touched, plan.leftovers)
                        guard = replace(self.guard, accepted=attempt.accept_shrink)
                        load = Load(connection, plan, plan.named(delivered), rows, alteration, guard, append_only=keep)
                        applied = await load.run(attempt.action)
                        await cursors.write(connection, table, after)
                        await jobs.forget(connection, table)
                        altered = alteration.altered or plan.additive is not None
                        if altered or attempt.action != "sync" or not (before and before.held):
                            await cursors.note_held(connection, table, after, [c.name for c in model.columns])
                        notes = (*model.notes, *plan.notes, *alteration.notes)
                        result = attempt.loaded(before, after, applied, altered=altered, notes=notes)
                        await ledger.loaded(
                            connection, result, applied, changes, run=attempt.run, reinitialized=not attempt.requested
                        )
        return result

    async def _needs_init(self, attempt: Attempt, required: ReinitRequired) -> TableResult:
        log.warning("%s", required.message)
        async with self._connection() as connection:
            await jobs.forget(connection, attempt.table)
            await freshness.check_reinit(connection, attempt.table, required)
            result = attempt.result("needs_init", await cursors.read(connection, attempt.table), error=required)
            await ledger.needs_init(connection, result, required, attempt.run)
        return result

    def _reported(self, attempt: Attempt) -> Reported:
        return Reported(self._target, attempt)

    def _connection(self) -> connected:
        return connected(self._target)

    def asking(self) -> AbstractAsyncContextManager[DapSession, None]:
        """A session at DAP for asking; the waits of many tables share one."""
        if not self._shares:
            return self.session()
        self._shared = self._shared or self.session()
        return nullcontext(self._shared)

    def session(self) -> DapSession:
        """A session at DAP for a load."""
        return DapSession(self._credentials, self.pacer)
