"""Compares a table with a snapshot, and repairs what differs; exact, although the table moves.

The snapshot is as of S. The table is synced to U >= S. What differs then is either a key that has changed after S,
which the changes of that sync name and which is left out, or it is loss or damage.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cd2.replication.bookkeeping import ledger
from cd2.replication.constraints.refused import told
from cd2.replication.dap.jobs import keeps_its_job
from cd2.replication.database.connection import connected
from cd2.replication.database.locks import table_lock
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, without_table
from cd2.replication.failures import in_our_words
from cd2.replication.results import TableResult, Verification
from cd2.replication.verification import journal, questions
from cd2.replication.verification.work import How, Work

if TYPE_CHECKING:
    from datetime import datetime

    from cd2.replication.dap.jobs import InLine
    from cd2.replication.dap.session import Job
    from cd2.replication.names import TableName
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verifier:
    """Verifies tables; a replicator asks and loads for it."""

    replicator: Replicator

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
        asked_for = (self.replicator.pacer.key, table)

        async def look(job_id: str) -> Job:
            async with self.replicator.asking() as session:
                return await session.job(job_id)

        async def ask(since: datetime | None) -> Job:
            return await look(await self.replicator.ask(table, since, tries=tries, place=place, given_up=given_up))

        with in_our_words(f"{table}: asking DAP"):
            snapshot, changes = await questions.ask_for_both(ask, look, self.replicator.replica, asked_for, cursor)
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

        :param requested: by a person; otherwise what is wrong with the snapshot fails no table, not even when no try is
            left: the next run would choose it again.
        :param repair: make equal what differs.
        :param accept_shrink: see `Replicator.load`; for the repair, too.
        :param last_try: see `Replicator.load`.
        :param run: see `Replicator.load`.
        :returns: as `load`, with what was found; needs_init: there was nothing to compare.
        :raises Cd2Error: what went wrong, in our words. If the comparison failed, the changes are loaded.
        """
        loaded = await self.replicator.load(
            table, job_id, "sync", last_try=last_try, run=run, accept_shrink=accept_shrink
        )
        if loaded.state == "needs_init":
            return loaded
        where = f"{table}: verification"
        guard = replace(self.replicator.guard, accepted=accept_shrink)
        how = How(repair, guard, table.matches(self.replicator.append_only), self.replicator.progress, run)
        compared = replace(_unchanged(loaded), job_id=snapshot_id, verification=Verification("equal", requested))
        try:
            with in_our_words(where):
                async with self.replicator.session() as session:
                    jobs = (await session.job(snapshot_id), await session.job(job_id))
                    async with (
                        connected(self.replicator.replica.target) as connection,
                        table_lock(connection, table),
                        told(connection, table, where),
                    ):
                        compared = await Work(connection, session, *jobs, compared, how).do()
        except Cd2Error as failure:
            if last_try:
                failure.is_last()
            final = last_try or isinstance(failure, TableFailure)
            if requested or not final or isinstance(failure, StopAll):
                failure.result = replace(loaded, state="failed", error=failure.info)
                await self._note_failure(replace(compared, duration_s=how.seconds), failure, run)
                raise
            why = without_table(failure.message)
            return await self.not_verified(loaded, Verification("postponed", requested, reason=why), run)
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
        with in_our_words(f"{result.table}: verification"):
            async with connected(self.replicator.replica.target) as connection:
                await questions.forget(connection, result.table)
                await journal.note(connection, replace(_unchanged(result), verification=verification), None, run)
        log.warning("%s: %s.", result.table, str(verification).rstrip("."))
        return replace(result, verification=verification)

    async def _note_failure(self, compared: TableResult, failure: Cd2Error, run: str | None) -> None:
        with suppress(Exception):  # the original failure matters more
            async with connected(self.replicator.replica.target, patience_s=0) as connection:
                if not keeps_its_job(failure):
                    await questions.forget(connection, compared.table)
                await ledger.not_compared(connection, compared, failure, run)


def _unchanged(loaded: TableResult) -> TableResult:
    """The result of a table to which nothing was done since it was loaded."""
    as_of, version = loaded.data_as_of, loaded.schema_version
    return TableResult(loaded.table, loaded.action, loaded.state, since=as_of, data_as_of=as_of, schema_version=version)
