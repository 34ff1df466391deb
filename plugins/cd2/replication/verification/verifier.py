"""Compares a table with a snapshot, and repairs what differs; exact, although the table moves.

The snapshot is as of S. The table is synced to U >= S. What differs then is either a key that has changed after S,
which the changes of that sync name and which is left out, or it is loss or damage.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from cd2.replication.bookkeeping import cursors, row_counts
from cd2.replication.dap.downloads import Downloads
from cd2.replication.dap.jobs import keeps_its_job
from cd2.replication.database.connection import connected
from cd2.replication.database.locks import table_lock
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from cd2.replication.failures import in_our_words
from cd2.replication.load.objects import Tally
from cd2.replication.load.rows import JobRows, Progress
from cd2.replication.load.staging import Staging
from cd2.replication.names import TableName
from cd2.replication.results import Action, TableResult, Verification
from cd2.replication.schema.model import table_model
from cd2.replication.verification import asking, journal
from cd2.replication.verification.comparison import Comparison
from cd2.replication.verification.journal import History

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.dap.jobs import InLine
    from cd2.replication.dap.session import DapSession, Job
    from cd2.replication.database.connection import Replica
    from cd2.replication.load.guard import Guard
    from cd2.replication.schema.model import TableModel

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
        accept_shrink: bool = False,
    ) -> Awaitable[TableResult]:
        """Load a finished job."""


@dataclass(frozen=True)
class Verifier:
    """The verification of tables, for the replicator.

    :param load: loads a job.
    :param finished_job: asks DAP for a table's changes since then, or for a snapshot (None), and waits for the job.
    :param asking: a session at DAP for asking.
    :param session: one for downloads.
    :param key: the hash of the DAP key.
    :param guard: how many rows of a table a repair may delete, and whether a person has accepted that.
    :param progress: called about every ten seconds while the snapshot is staged.
    """

    load: LoadJob
    finished_job: Callable[..., Awaitable[Job]]
    asking: Callable[[], AbstractAsyncContextManager[DapSession, None]]
    session: Callable[[], DapSession]
    replica: Replica
    key: str
    guard: Callable[[TableName, bool], Guard]
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
        with in_our_words(f"{table}: asking DAP"):
            async with self.asking() as session:

                async def ask(since: datetime | None) -> Job:
                    with in_our_words(f"{table}: asking DAP"):
                        return await self.finished_job(session, table, since, tries, place, given_up)

                snapshot, changes = await asking.ask_for_both(ask, session.job, self.replica, (self.key, table), cursor)
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
    ) -> TableResult:
        """Load the changes of a finished job; then compare the table with a snapshot, in a transaction of its own.

        :param requested: by a person; otherwise what is wrong with the snapshot fails no table.
        :param repair: make equal what differs.
        :param accept_shrink: see `Replicator.load`; for the repair, too.
        :param last_try: see `Replicator.load`.
        :returns: as `load`; needs_init: there was nothing to compare.
        :raises Cd2Error: what went wrong, in our words. If the comparison failed, the changes are loaded.
        """
        result = await self.load(table, job_id, "sync", last_try=last_try, accept_shrink=accept_shrink)
        if result.state == "needs_init":
            return result
        tally = Tally()
        try:
            with in_our_words(f"{table}: verification"):
                async with self.session() as session:
                    snapshot, changes = await session.job(snapshot_id), await session.job(job_id)
                    async with connected(self.replica.target) as connection, table_lock(connection, table):
                        work = _Work(connection, session, table, snapshot, changes, self.guard(table, accept_shrink))
                        found = await work.run(Verification("equal", requested), repair, tally, self.progress)
        except Cd2Error as failure:
            if last_try:
                failure.is_last()
            if not keeps_its_job(failure):
                await self._forget_snapshot(table)
            if requested or not isinstance(failure, TableFailure) or isinstance(failure, StopAll):
                failure.result = replace(result, state="failed", error=failure.info)
                raise
            return await self.not_verified(result, Verification("postponed", requested, reason=failure.message))
        return replace(result, verification=found, bytes_downloaded=result.bytes_downloaded + tally.bytes)

    async def not_verified(self, result: TableResult, verification: Verification) -> TableResult:
        """Note that a table that is up to date was not verified, and why."""
        as_of = datetime.fromisoformat(result.data_as_of) if result.data_as_of else None
        with in_our_words(f"{result.table}: verification"):
            async with connected(self.replica.target) as connection:
                await journal.note(connection, result.table, verification, as_of, None)
        log.warning("%s: %s.", result.table, verification)
        return replace(result, verification=verification)

    async def history(self) -> dict[TableName, History]:
        """When each table was last verified."""
        with in_our_words("Reading cd2.verifications"):
            async with connected(self.replica.target) as connection:
                return await journal.history(connection)

    async def _forget_snapshot(self, table: TableName) -> None:
        with suppress(Exception):  # the original failure matters more
            async with connected(self.replica.target, patience_s=0) as connection:
                await asking.forget(connection, table)


@dataclass(frozen=True)
class _Work:
    """One comparison.

    :param connection: it holds the table's lock.
    :param snapshot: the job that the table is compared with, as of S.
    :param changes: the job whose changes are in the table: since S or before, up to S or later.
    """

    connection: asyncpg.Connection
    session: DapSession
    table: TableName
    snapshot: Job
    changes: Job
    guard: Guard

    async def run(
        self, found: Verification, repair: bool, tally: Tally, progress: Callable[[Progress], None]
    ) -> Verification:
        """Compare, repair if that is wanted, and note the outcome, in one transaction.

        :raises TransientError: another process has loaded later changes since.
        """
        cursor = await cursors.read(self.connection, self.table)
        if cursor is None or cursor.since != self.changes.as_of:
            raise TransientError(
                f"{self.table}: another process has moved its cursor while it was verified: it will be verified again."
            )
        described = await self.session.schema(self.table)
        found = replace(found, snapshot_as_of=self.snapshot.as_of.isoformat() if self.snapshot.as_of else None)
        versions = {described.version, cursor.schema_version, self.snapshot.schema_version, self.changes.schema_version}
        if len(versions) > 1:
            reason = f"its schema has just changed (versions {', '.join(map(str, sorted(versions)))}); verify it again"
            found = replace(found, outcome="postponed", reason=reason)
            async with self.connection.transaction():
                await self._note(found)
            log.warning("%s: %s.", self.table, found)
            return found
        model = table_model(self.table, described.schema, described.version)
        async with (
            Downloads(self.session, self.changes.objects, self.connection) as changes,
            JobRows(changes.download, self.changes, self.table, tally, progress) as changed,
            Downloads(self.session, self.snapshot.objects, self.connection) as objects,
            JobRows(objects.download, self.snapshot, self.table, tally, progress) as rows,
            self.connection.transaction(),
        ):
            # The few changes first: a download that waits for long is cut off, and must resume.
            keys = None if changed.empty else await self._stage_keys(model, changed)
            staged = Staging(self.connection, model, incremental=False, prefix="compare")
            await staged.create()
            await staged.fill(rows)
            log.info("%s: staged a snapshot of %s rows; comparing now.", self.table, f"{staged.rows:,}")
            comparison = Comparison(self.connection, model, staged)
            there = await comparison.find()
            left_out, inside = 0, 0
            if keys is not None:
                left_out, inside = await comparison.leave_out(keys, self.snapshot.as_of)
                await keys.drop()
            kept = await comparison.keep_extra() if self.guard.only_added_to else 0
            kinds = await comparison.by_kind()
            found = replace(
                found,
                outcome="different" if kinds else "equal",
                rows_compared=staged.rows - inside,
                rows_left_out=left_out,
                rows_kept=kept,
                missing=kinds.get("missing", 0),
                extra=kinds.get("extra", 0),
                different=kinds.get("different", 0),
                columns=await comparison.by_column(),
            )
            if repair and kinds:
                self.guard.check_repair(self.table, there, staged.rows, found.extra)
                await staged.apply_some(comparison.differences, (found.missing + found.different, found.extra))
                found = replace(found, outcome="repaired")
                there += found.missing - found.extra
            await row_counts.note(self.connection, self.table, there, cursor.since)
            await comparison.note_keys(await self._note(found))
            await comparison.drop()
            await staged.drop()
        log.log(logging.WARNING if kinds else logging.INFO, "%s: %s.", self.table, found)
        return found

    async def _stage_keys(self, model: TableModel, changed: JobRows) -> Staging:
        """Stage the keys of the changes, and when each changed last."""
        keys = model.limited_to([column.source for column in model.columns if column.key])
        staged = Staging(self.connection, keys, incremental=True)
        await staged.create()
        await staged.fill(changed)
        return staged

    async def _note(self, found: Verification) -> object:
        await asking.forget(self.connection, self.table)
        return await journal.note(self.connection, self.table, found, self.changes.as_of, self.snapshot.id)
