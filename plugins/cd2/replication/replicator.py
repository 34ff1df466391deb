"""Init, sync and re-init of one table: the page to read first.

Every public method is complete in itself: it opens what it needs and closes it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import asyncpg

from cd2.errors import Cd2Error, ReinitRequired, TransientError, classify
from cd2.replication import official, state
from cd2.replication.api import DapCredentials, PacedSession, open_session
from cd2.replication.connection import DatabaseTarget, connect
from cd2.replication.pacing import LIST_CALLS_PER_MINUTE, Pacer
from cd2.results import Action, State, TableResult

log = logging.getLogger(__name__)

TABLE_LOCK = 0x636432
"""First half of the advisory lock of a table; the second is a hash of its name."""
LOCK_WAIT_S = 300


class Replicator:
    """Replicates the tables of one DAP account into one database.

    :param credentials: the DAP key.
    :param target: the replica.
    :param job_creations_per_minute: DAP's limit for the key.
    """

    def __init__(self, credentials: DapCredentials, target: DatabaseTarget, job_creations_per_minute: int) -> None:
        self._credentials = credentials
        self._target = target
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
        try:
            async with self._connection() as connection:
                await state.prepare(official.client_database(self._target), connection, namespaces)
        except Exception as error:
            failure = classify(error, f"Preparing {self._target}")
        else:
            return
        raise failure

    async def list_tables(self, namespace: str) -> list[str]:
        """Names of the tables that DAP offers in a namespace, sorted.

        :raises Cd2Error: the service refuses or cannot be reached.
        """
        try:
            async with open_session(self._credentials, self._pacer) as session:
                return sorted(await session.get_tables(namespace))
        except Exception as error:
            failure = classify(error, f"Listing the tables of {namespace}")
        raise failure

    async def sync(self, namespace: str, table: str, *, full_refresh: bool = False) -> TableResult:
        """Bring a table up to date, or say that it needs an init.

        :returns: state complete, complete_with_schema_update, or needs_init.
        :raises Cd2Error: what went wrong, in our words; the replica is as before or a retry goes on from there.
        """
        work = _Work(namespace, table, "sync")
        try:
            async with self._locked(work) as connection:
                before = await state.read_cursor(connection, namespace, table)
                if before is None or full_refresh:
                    return work.result("needs_init", before)
                async with open_session(self._credentials, self._pacer) as session:
                    work.session = session
                    await official.load_changes(session, self._target, namespace, table)
                after = await state.read_cursor(connection, namespace, table)
                changed = after is not None and after.schema_version != before.schema_version
                return work.result("complete_with_schema_update" if changed else "complete", before, after)
        except Exception as error:
            failure = classify(error, f"{work.name}: sync")
        if isinstance(failure, ReinitRequired):
            log.warning("%s", failure.message)
            return work.result("needs_init", error=failure)
        raise work.failed(failure)

    async def init(self, namespace: str, table: str) -> TableResult:
        """Fill a table with a snapshot; whatever it held before is replaced (re-init).

        :returns: state initialized.
        :raises Cd2Error: what went wrong, in our words; a retry begins anew.
        """
        work = _Work(namespace, table, "init")
        try:
            async with self._locked(work) as connection:
                before = await state.read_cursor(connection, namespace, table)
                if await state.forget_table(connection, namespace, table):
                    work.action = "reinit"
                async with open_session(self._credentials, self._pacer) as session:
                    work.session = session
                    await official.load_snapshot(session, self._target, namespace, table)
                after = await state.read_cursor(connection, namespace, table)
                return work.result("initialized", before, after)
        except Exception as error:
            failure = classify(error, f"{work.name}: {work.action}")
        raise work.failed(failure)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._target)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _locked(self, work: _Work) -> AsyncIterator[asyncpg.Connection]:
        """A connection that holds the table's lock: two overlapping syncs could leave deleted rows for ever."""
        async with self._connection() as connection:
            await connection.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
            try:
                await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", TABLE_LOCK, work.name)
            except asyncpg.LockNotAvailableError:
                busy: Cd2Error = TransientError(
                    f"{work.name}: another process has been working on this table for {LOCK_WAIT_S} s; "
                    "it is tried again. If no run is active, look for a session named cd2 in pg_stat_activity."
                )
            else:
                yield connection
                return
        raise busy


class _Work:
    """One attempt at one table: what its result is made of."""

    def __init__(self, namespace: str, table: str, action: Action) -> None:
        self.namespace = namespace
        self.table = table
        self.action = action
        self.session: PacedSession | None = None
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
        transfer = vars(self.session.transfer) if self.session else {}
        last = after or before
        return TableResult(
            self.namespace,
            self.table,
            self.action,
            outcome,
            since=before.since.isoformat() if before else None,
            data_as_of=last.since.isoformat() if last else None,
            schema_version=last.schema_version if last else None,
            duration_s=round(time.monotonic() - self._started, 3),
            error=error.info if error else None,
            **transfer,
        )
