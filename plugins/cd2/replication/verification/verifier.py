"""Compares a table with a snapshot, and repairs what differs; exact, although the table moves.

The snapshot is as of S. The table is synced to U >= S. What differs then is either a key that has changed after S,
which the changes of that sync name and which is left out, or it is loss or damage.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from cd2.replication.bookkeeping import ledger
from cd2.replication.constraints.refused import told
from cd2.replication.dap.jobs import keeps_its_job
from cd2.replication.database.connection import connected
from cd2.replication.database.locks import table_lock
from cd2.replication.errors import Cd2Error, StopAll, TableFailure
from cd2.replication.failures import in_our_words
from cd2.replication.load.rows import Progress
from cd2.replication.names import TableName
from cd2.replication.results import Action, TableResult, Verification
from cd2.replication.verification import journal, questions
from cd2.replication.verification.journal import History
from cd2.replication.verification.work import Work

if TYPE_CHECKING:
    from cd2.replication.dap.jobs import InLine
    from cd2.replication.dap.session import DapSession, Job
    from cd2.replication.database.connection import Replica
    from cd2.replication.load.guard import Guard

log = logging.getLogger(__name__)


class LoadJob(Protocol):
    """`Replicator.load`."""

    def __call__(
        self,
        table: TableName,
        job_id: str,
        action: Action,
        *,
        requested: bool = True,
        last_try: bool = False,
        run: str | None = None,
        accept_shrink: bool = False,
    ) -> Awaitable[TableResult]:
        """Load a finished job."""


@dataclass(frozen=True)
class Verifier:
    """The verification of tables, for the replicator.

    :param ask_dap: `Replicator.ask`.
    :param load: loads a job.
    :param asking: a session at DAP for asking.
    :param session: one for downloads.
    :param key: the hash of the DAP key.
    :param guard: how many rows of a table a repair may delete.
    :param append_only: patterns of tables that are only ever added to.
    :param progress: called about every ten seconds while the snapshot is staged.
    """

    ask_dap: Callable[..., Awaitable[str]]
    load: LoadJob
    asking: Callable[[], AbstractAsyncContextManager[DapSession, None]]
    session: Callable[[], DapSession]
    replica: Replica
    key: str
    guard: Guard
    append_only: Collection[str]
    progress: Callable[[Progress], None]

    async def ask(
        self,
        table: TableName,
        cursor: datetime,
        *,
        tries: int,
        place: InLine | None,
        given_up: datetime | None = None,
    ) -> tuple[str, str]:
        """Ask DAP for a snapshot and then for changes, and wait for both; for the rest, see `Replicator.ask`.

        :returns: the ids of the two jobs.
        """

        async def look(job_id: str) -> Job:
            async with self.asking() as session:
                return await session.job(job_id)

        async def ask(since: datetime | None) -> Job:
            return await look(await self.ask_dap(table, since, tries=tries, place=place, given_up=given_up))

        with in_our_words(f"{table}: asking DAP"):
            snapshot, changes = await questions.ask_for_both(ask, look, self.replica, (self.key, table), cursor)
            return snapshot.id, changes.id

    async def verify(
        self,
        table: TableName,
        snapshot_id: str,
        job_id: str,
        *,
        requested: bool = True,
        repair: bool = False,
        accept_shrink: bool = False,
        last_try: bool = False,
        run: str | None = None,
    ) -> TableResult:
        """Load the changes of a finished job; then compare the table with a snapshot, in a transaction of its own.

        :param requested: by a person; otherwise what is wrong with the snapshot fails no table.
        :param repair: make equal what differs.
        :param accept_shrink: see `Replicator.load`; for the repair, too.
        :param last_try: see `Replicator.load`.
        :param run: see `Replicator.load`.
        :returns: as `load`, with what was found; needs_init: there was nothing to compare.
        :raises Cd2Error: what went wrong, in our words. If the comparison failed, the changes are loaded.
        """
        loaded = await self.load(table, job_id, "sync", last_try=last_try, run=run, accept_shrink=accept_shrink)
        if loaded.state == "needs_init":
            return loaded
        started, where = time.monotonic(), f"{table}: verification"
        as_of = loaded.data_as_of
        compared = TableResult(
            table, "sync", loaded.state, since=as_of, data_as_of=as_of, schema_version=loaded.schema_version
        )
        compared = replace(compared, job_id=snapshot_id, verification=Verification("equal", requested))
        guard, append_only = replace(self.guard, accepted=accept_shrink), table.matches(self.append_only)
        try:
            with in_our_words(where):
                async with self.session() as session:
                    jobs = await session.job(snapshot_id), await session.job(job_id)
                    async with (
                        connected(self.replica.target) as connection,
                        table_lock(connection, table),
                        told(connection, table, where),
                    ):
                        work = Work(connection, session, *jobs, compared, guard, append_only, started, run)
                        compared = await work.do(repair, self.progress)
        except Cd2Error as failure:
            if last_try:
                failure.is_last()
            if requested or not isinstance(failure, TableFailure) or isinstance(failure, StopAll):
                failure.result = replace(loaded, state="failed", error=failure.info)
                await self._note_failure(replace(compared, duration_s=time.monotonic() - started), failure, run)
                raise
            return await self.not_verified(loaded, Verification("postponed", requested, reason=failure.message), run)
        return replace(
            loaded,
            verification=compared.verification,
            rows_upserted=loaded.rows_upserted + compared.rows_upserted,
            rows_deleted=loaded.rows_deleted + compared.rows_deleted,
            bytes_downloaded=loaded.bytes_downloaded + compared.bytes_downloaded,
            duration_s=round(loaded.duration_s + compared.duration_s, 3),
        )

    async def not_verified(
        self, result: TableResult, verification: Verification, run: str | None = None
    ) -> TableResult:
        """Note that a table that is up to date was not verified, and why; a snapshot of it is forgotten."""
        table = result.table
        noted = replace(TableResult(table, "sync", result.state), data_as_of=result.data_as_of, since=result.data_as_of)
        noted = replace(noted, schema_version=result.schema_version, verification=verification)
        with in_our_words(f"{table}: verification"):
            async with connected(self.replica.target) as connection:
                await questions.forget(connection, table)
                await journal.note(connection, noted, None, run)
        log.warning("%s: %s.", table, verification)
        return replace(result, verification=verification)

    async def history(self) -> dict[TableName, History]:
        """When each table was last verified."""
        with in_our_words("Reading cd2.verifications"):
            async with connected(self.replica.target) as connection:
                return await journal.history(connection)

    async def _note_failure(self, compared: TableResult, failure: Cd2Error, run: str | None) -> None:
        with suppress(Exception):  # the original failure matters more
            async with connected(self.replica.target, patience_s=0) as connection:
                if not keeps_its_job(failure):
                    await questions.forget(connection, compared.table)
                await ledger.not_compared(connection, compared, failure, run)
