"""Init, sync and re-init of one table: the page to read first.

A table is brought up to date in three steps that may run in different processes: *ask* DAP for a job, wait until the
job is *finished*, and *load* it. The load is one transaction on one connection, under the table's lock, from reading
the cursor to the commit: rows, schema, dependents and cursor change together or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime

import asyncpg

from cd2.errors import Cd2Error, ReinitRequired, TransientError, classify
from cd2.replication import asking, freshness, schema, state
from cd2.replication.alter import patiently
from cd2.replication.api import DapCredentials, DapSession, Job, open_session
from cd2.replication.asking import CREATION_TRIES, Asking
from cd2.replication.connection import DatabaseTarget, connect
from cd2.replication.feed import Feed, Progress
from cd2.replication.load import Load
from cd2.replication.locks import table_lock
from cd2.replication.pacing import LIST_CALLS_PER_MINUTE, Pacer
from cd2.replication.work import Work, is_past, models
from cd2.results import Action, Freshness, TableResult

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


def log_progress(progress: Progress) -> None:
    """Show in the log that a long load lives."""
    log.info("%s", progress)


class Replicator:
    """Replicates the tables of one DAP account into one database.

    :param credentials: the DAP key.
    :param target: the replica.
    :param job_creations_per_minute: DAP's limit for the key.
    :param progress: told about every ten seconds how far a load is.
    """

    def __init__(
        self,
        credentials: DapCredentials,
        target: DatabaseTarget,
        job_creations_per_minute: int,
        progress: Callable[[Progress], None] = log_progress,
    ) -> None:
        self._credentials = credentials
        self._target = target
        self._progress = progress
        self._pacer = Pacer(
            target,
            credentials.client_id,
            {
                "data": job_creations_per_minute,
                "list": max(LIST_CALLS_PER_MINUTE, job_creations_per_minute),
            },
        )

    async def prepare(self, namespaces: Iterable[str]) -> None:
        """Make schemas and bookkeeping before the tables are worked on in parallel.

        :raises Cd2Error: the database cannot be reached, or a right is missing.
        """
        async with _in_our_words(f"Preparing {self._target}"), self._connection() as connection:
            await state.prepare(self._target, connection, namespaces)

    async def list_tables(self, namespace: str) -> list[str]:
        """Names of the tables that DAP offers in a namespace, sorted.

        :raises Cd2Error: the service refuses or cannot be reached.
        """
        async with _in_our_words(f"Listing the tables of {namespace}"), self._session() as session:
            return sorted(await session.get_tables(namespace))

    async def freshness(self) -> dict[str, Freshness]:
        """How fresh each table is, by qualified name.

        :raises Cd2Error: the database cannot be reached, or is not prepared.
        """
        async with _in_our_words("Reading cd2.freshness"), self._connection() as connection:
            return await freshness.read(connection)
        raise AssertionError("unreachable")

    async def sync(
        self, namespace: str, table: str, *, full_refresh: bool = False, job_id: str | None = None
    ) -> TableResult:
        """Bring a table up to date, or say that it needs an init: `cursor`, `ask` and `load` in one process.

        :param full_refresh: it needs an init, whatever its state.
        :param job_id: a job that was asked for before, to be picked up if it still lives.
        :returns: state complete, complete_with_schema_update, or needs_init.
        :raises Cd2Error: what went wrong, in our words; the replica is as it was.
        """
        work = Work(namespace, table, "sync")
        async with self._reported(work):
            cursor = await self._cursor(namespace, table)
            if cursor is None or full_refresh:
                return work.result("needs_init", cursor)
            try:
                async with self._session() as session:
                    job = await self._asking(session, namespace, table, cursor.since).finished_job(job_id)
                    return await self._load(work, session, job)
            except Exception as error:
                required = classify(error, f"{work.name}: sync")
                if not isinstance(required, ReinitRequired):
                    raise
            return await self._needs_init(work, required)
        raise AssertionError("unreachable")

    async def init(self, namespace: str, table: str, *, job_id: str | None = None) -> TableResult:
        """Fill a table with a snapshot; if it exists already (re-init), it is made equal to the snapshot.

        :param job_id: a job that was asked for before, to be picked up if it still lives.
        :returns: state initialized.
        :raises Cd2Error: what went wrong, in our words; the replica is as it was.
        """
        work = Work(namespace, table, "init")
        async with self._reported(work), self._session() as session:
            job = await self._asking(session, namespace, table, None).finished_job(job_id)
            return await self._load(work, session, job)
        raise AssertionError("unreachable")

    # -- the same in steps, which may run in different processes -----------------------------------

    async def cursor(self, namespace: str, table: str) -> datetime | None:
        """The state of DAP that a table holds (UTC); None: it needs an init.

        :raises Cd2Error: the database cannot be reached.
        """
        work = Work(namespace, table, "sync")
        async with self._reported(work):
            cursor = await self._cursor(namespace, table)
        return cursor.since if cursor else None

    async def ask(self, namespace: str, table: str, since: datetime | None, *, tries: int = CREATION_TRIES) -> str:
        """Take a turn, ask DAP for changes since then (None: for all rows), and wait until the job is done.

        An earlier attempt's turn or job is gone on with.

        :param tries: how often to ask while DAP answers 429.
        :returns: the job's id.
        :raises Cd2Error: what went wrong, in our words.
        """
        async with _in_our_words(f"{namespace}.{table}: asking DAP"), self._session() as session:
            return (await self._asking(session, namespace, table, since, tries).finished_job()).id
        raise AssertionError("unreachable")

    async def load(self, namespace: str, table: str, job_id: str, action: Action, *, asked: bool = True) -> TableResult:
        """Load a finished job.

        :param action: sync or init.
        :param asked: whether a person asked for a re-init; otherwise it counts for the limit, see `freshness`.
        :returns: as `sync` and `init`.
        :raises Cd2Error: what went wrong, in our words; the replica is as it was.
        """
        work = Work(namespace, table, action, asked)
        async with self._reported(work):
            try:
                async with self._session() as session:
                    return await self._load(work, session, await session.job(job_id))
            except Exception as error:
                required = classify(error, f"{work.name}: {action}")
                if not isinstance(required, ReinitRequired) or action != "sync":
                    raise
            return await self._needs_init(work, required)
        raise AssertionError("unreachable")

    async def failed(self, namespace: str, table: str, action: Action, failure: Cd2Error) -> TableResult:
        """What becomes of a table whose asking failed: needs_init if a new snapshot may help.

        :raises Cd2Error: the failure, with the table's result in it.
        """
        work = Work(namespace, table, action)
        async with self._reported(work):
            if isinstance(failure, ReinitRequired) and action == "sync":
                return await self._needs_init(work, failure)
            raise failure
        raise AssertionError("unreachable")

    # -- inside ------------------------------------------------------------------------------------

    async def _cursor(self, namespace: str, table: str) -> state.Cursor | None:
        async with self._connection() as connection:
            return await state.read_cursor(connection, namespace, table)

    def _asking(
        self,
        session: DapSession,
        namespace: str,
        table: str,
        since: datetime | None,
        tries: int = CREATION_TRIES,
    ) -> Asking:
        return Asking(session, self._pacer, self._target, namespace, table, since, tries)

    async def _needs_init(self, work: Work, required: ReinitRequired) -> TableResult:
        log.warning("%s", required.message)
        async with self._connection() as connection:
            await asking.forget(connection, work.namespace, work.table)
            await freshness.check_reinit(connection, work.namespace, work.table, required)
        return work.result("needs_init", error=required)

    @asynccontextmanager
    async def _reported(self, work: Work) -> AsyncIterator[None]:
        """A failure leaves as a `Cd2Error` with the table's result, and is noted in `cd2.freshness`."""
        try:
            async with _in_our_words(f"{work.name}: {work.action}"):
                yield
        except Cd2Error as error:
            failure = error
        else:
            return
        cursor = None
        with suppress(Exception):  # the failure itself matters more
            async with self._connection() as connection:
                await freshness.failed(connection, work.namespace, work.table, failure)
                if not asking.keeps_its_job(failure):
                    await asking.forget(connection, work.namespace, work.table)
                cursor = await state.read_cursor(connection, work.namespace, work.table)
        failure.result = work.result("failed", cursor, error=failure)
        raise failure from None

    async def _load(self, work: Work, session: DapSession, job: Job) -> TableResult:
        """Load a finished job, in one transaction, under the table's lock from reading the cursor to the commit."""
        work.job = job
        if job.as_of is None:
            raise TransientError(f"{work.name}: the job {job.id} is not done yet: it is tried again.")
        async with self._connection() as connection, table_lock(connection, work.name):
            before = await state.read_cursor(connection, work.namespace, work.table)
            if is_past(job, before, work.name):
                await asking.forget(connection, work.namespace, work.table)
                await freshness.up_to_date(connection, work.namespace, work.table, job.as_of)
                return work.result("complete", before)
            log.info(
                "%s: job %s is done: %s, %s object(s), as of %s.",
                work.name,
                job.id,
                "all rows" if job.since is None else f"changes since {job.since.isoformat()}",
                len(job.objects),
                job.as_of.isoformat(),
            )
            async with Feed(session, job, work.name, self._progress) as feed:
                work.feed = feed
                model, delivered = await models(work, session, job, before, feed)
                plan = await schema.plan(connection, model, before.description if before else None)
                work.decide(job, plan)
                if plan.additive:
                    await patiently(connection, plan.additive, work.name)
                after = state.Cursor(job.as_of, model.version, model.description)
                async with connection.transaction():
                    work.load = load = Load(connection, plan, delivered, feed)
                    match work.action:
                        case "init":
                            await load.init()
                        case "reinit":
                            await load.reinit()
                        case "sync":
                            await load.sync()
                    await state.write_cursor(connection, work.namespace, work.table, after)
                    await asking.forget(connection, work.namespace, work.table)
                    await freshness.up_to_date(connection, work.namespace, work.table, after.since, not work.asked)
        if work.action != "sync":
            return work.result("initialized", before, after)
        updated = before is not None and before.schema_version != after.schema_version
        return work.result("complete_with_schema_update" if updated else "complete", before, after)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._target)
        try:
            yield connection
        finally:
            await connection.close(timeout=CLOSE_TIMEOUT_S)

    def _session(self) -> AbstractAsyncContextManager[DapSession]:
        return open_session(self._credentials, self._pacer)


@asynccontextmanager
async def _in_our_words(where: str) -> AsyncIterator[None]:
    """Whatever is raised becomes a `Cd2Error`; the original stays out of it, as its context could hold secrets."""
    try:
        yield
    except Exception as error:
        failure = classify(error, where)
    else:
        return
    raise failure
