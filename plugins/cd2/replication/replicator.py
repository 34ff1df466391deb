"""Init, sync and re-init of one table: the page to read first.

A table is brought up to date in three steps that may run in different processes: *ask* DAP for a job, wait until the
job is *finished*, and *load* it. The load is one transaction on one connection, under the table's lock, from reading
the cursor to the commit: rows, schema, dependents and cursor change together or not at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import asyncpg

from cd2.errors import Cd2Error, ReinitRequired, TransientError, classify
from cd2.replication import schema, state
from cd2.replication.alter import patiently
from cd2.replication.api import DapCredentials, DapSession, Job, open_session
from cd2.replication.connection import DatabaseTarget, connect
from cd2.replication.feed import Feed, Progress
from cd2.replication.load import Load
from cd2.replication.locks import table_lock
from cd2.replication.pacing import LIST_CALLS_PER_MINUTE, Pacer
from cd2.replication.schema import TableModel
from cd2.results import Action, Dependents, State, TableResult

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

    async def sync(
        self, namespace: str, table: str, *, full_refresh: bool = False, job_id: str | None = None
    ) -> TableResult:
        """Bring a table up to date, or say that it needs an init.

        :param full_refresh: it needs an init, whatever its state.
        :param job_id: a job that was asked for before, to be picked up if it still lives.
        :returns: state complete, complete_with_schema_update, or needs_init.
        :raises Cd2Error: what went wrong, in our words; the replica is as it was.
        """
        work = _Work(namespace, table, "sync")
        try:
            async with _in_our_words(f"{work.name}: sync"):
                async with self._connection() as connection:
                    cursor = await state.read_cursor(connection, namespace, table)
                if cursor is None or full_refresh:
                    return work.result("needs_init", cursor)
                async with self._session() as session:
                    job = await session.pick_up_or_start(job_id, namespace, table, cursor.since)
                    return await self._load(work, session, await session.finished(job))
        except ReinitRequired as required:
            log.warning("%s", required.message)
            return work.result("needs_init", error=required)
        except Cd2Error as failure:
            raise work.failed(failure) from None

    async def init(self, namespace: str, table: str, *, job_id: str | None = None) -> TableResult:
        """Fill a table with a snapshot; if it exists already (re-init), it is made equal to the snapshot.

        :param job_id: a job that was asked for before, to be picked up if it still lives.
        :returns: state initialized.
        :raises Cd2Error: what went wrong, in our words; the replica is as it was.
        """
        work = _Work(namespace, table, "init")
        try:
            async with _in_our_words(f"{work.name}: init"), self._session() as session:
                job = await session.pick_up_or_start(job_id, namespace, table, None)
                return await self._load(work, session, await session.finished(job))
        except Cd2Error as failure:
            raise work.failed(failure) from None

    async def _load(self, work: _Work, session: DapSession, job: Job) -> TableResult:
        """Load a finished job, in one transaction, under the table's lock from reading the cursor to the commit."""
        work.job = job
        if job.as_of is None:
            raise TransientError(f"{work.name}: the job {job.id} is not done yet: it is tried again.")
        async with self._connection() as connection, table_lock(connection, work.name):
            before = await state.read_cursor(connection, work.namespace, work.table)
            if _is_past(job, before, work.name):
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
                model, delivered = await _models(work, session, job, before, feed)
                plan = await schema.plan(connection, model, before.description if before else None)
                if job.since is None and plan.exists:
                    work.action = "reinit"
                elif job.since is not None and (plan.key_differs or not plan.exists):
                    raise ReinitRequired(
                        f"{work.name}: the table is gone, or its key is another: it needs a new snapshot."
                    )
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


def _is_past(job: Job, cursor: state.Cursor | None, where: str) -> bool:
    """Whether another process has meanwhile loaded what this incremental brings.

    :raises ReinitRequired: the cursor is gone.
    :raises TransientError: the cursor was set back, and the job begins too late for it.
    """
    if job.since is None or job.as_of is None:
        return False
    if cursor is None:
        raise ReinitRequired(f"{where}: its row in instructure_dap.table_sync is gone: it needs a new snapshot.")
    if job.since > cursor.since:
        raise TransientError(
            f"{where}: its cursor was set back to {cursor.since.isoformat()} while changes since "
            f"{job.since.isoformat()} were on their way: it is tried again from there."
        )
    if job.since < cursor.since and job.as_of <= cursor.since:
        log.info("%s: another process has loaded the changes up to %s already.", where, cursor.since.isoformat())
        return True
    return False


async def _models(
    work: _Work, session: DapSession, job: Job, before: state.Cursor | None, feed: Feed
) -> tuple[TableModel, TableModel]:
    """What the table shall be, and which part of it the job's data has.

    They differ only if DAP's schema went on after the job was made: the columns that are not in the data come with the
    next sync then, unless the table has them already.
    """
    versioned = await session.schema(work.namespace, work.table)
    model = schema.table_model(work.namespace, work.table, versioned.schema, versioned.version)
    if job.schema_version > versioned.version:
        raise TransientError(
            f"{work.name}: the data has version {job.schema_version} of the schema, but DAP still describes version "
            f"{versioned.version}: it is tried again."
        )
    if job.schema_version == versioned.version or not feed.columns:
        return model, model
    delivered = model.limited_to(feed.columns)
    if before is not None and before.schema_version >= versioned.version:
        return model, delivered
    delivered = replace(delivered, version=job.schema_version)
    return delivered, delivered


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


class _Work:
    """One attempt at one table: what its result is made of."""

    def __init__(self, namespace: str, table: str, action: Action) -> None:
        self.namespace = namespace
        self.table = table
        self.action = action
        self.job: Job | None = None
        self.feed: Feed | None = None
        self.load: Load | None = None
        self._started = time.monotonic()

    @property
    def name(self) -> str:
        return f"{self.namespace}.{self.table}"

    def failed(self, failure: Cd2Error) -> Cd2Error:
        """The failure, with the table's result in it."""
        failure.result = self.result("failed", error=failure)
        return failure

    def result(
        self,
        outcome: State,
        before: state.Cursor | None = None,
        after: state.Cursor | None = None,
        error: Cd2Error | None = None,
    ) -> TableResult:
        last = after or before
        # What a failed load did was rolled back.
        load = self.load if error is None else None
        return TableResult(
            self.namespace,
            self.table,
            self.action,
            outcome,
            rows_upserted=load.rows_upserted if load else 0,
            rows_deleted=load.rows_deleted if load else 0,
            bytes_downloaded=self.feed.tally.bytes if self.feed else 0,
            since=before.since.isoformat() if before else None,
            data_as_of=last.since.isoformat() if last else None,
            schema_version=last.schema_version if last else None,
            duration_s=round(time.monotonic() - self._started, 3),
            job_id=self.job.id if self.job else None,
            dependents=load.dependents if load else Dependents(),
            error=error.info if error else None,
        )
