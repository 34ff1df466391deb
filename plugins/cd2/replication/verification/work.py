"""One comparison of a table with a snapshot, and its repair, in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cd2.replication.bookkeeping import cursors
from cd2.replication.constraints.satisfied import satisfied
from cd2.replication.dap import schemas
from cd2.replication.dap.downloads import Downloads
from cd2.replication.dependents.parts import Touched
from cd2.replication.errors import TransientError
from cd2.replication.load import obstacles
from cd2.replication.load.objects import Tally
from cd2.replication.load.rows import JobRows, Progress
from cd2.replication.load.staging import Staging
from cd2.replication.results import TableResult, Verification
from cd2.replication.schema.alter import Alteration
from cd2.replication.schema.model import TableModel, table_model
from cd2.replication.schema.taken import names_of_types, with_type_names
from cd2.replication.verification import journal, questions
from cd2.replication.verification.comparison import Comparison

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.bookkeeping.cursors import Cursor
    from cd2.replication.dap.session import DapSession, Job
    from cd2.replication.load.guard import Guard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class How:
    """How a table is compared.

    :param repair: make equal what differs.
    :param guard: how many rows a repair may delete.
    :param append_only: rows that DAP no longer has are no difference, and are never deleted.
    :param progress: called about every ten seconds while the snapshot is staged.
    :param run: the id of the run, for the ledger.
    :param started: seconds of the monotonic clock.
    """

    repair: bool
    guard: Guard
    append_only: bool
    progress: Callable[[Progress], None]
    run: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long the comparison has taken so far."""
        return round(time.monotonic() - self.started, 3)


@dataclass(frozen=True)
class Work:
    """One comparison.

    :param connection: it holds the table's lock.
    :param snapshot: the job that the table is compared with, as of S.
    :param changes: the job whose changes are in the table: since S or before, up to S or later.
    :param result: of the comparison; its numbers are still to be found.
    """

    connection: asyncpg.Connection
    session: DapSession
    snapshot: Job
    changes: Job
    result: TableResult
    how: How

    async def do(self) -> TableResult:
        """Compare, repair if that is wanted, and note the outcome, in one transaction.

        :returns: the result, with what was found, the rows that were repaired, bytes and seconds.
        :raises TransientError: another process has loaded later changes since.
        :raises TableFailure: the repair would delete too many rows, or something that users created prevents it.
        """
        table, found = self.result.table, self.result.verification or Verification("equal")
        cursor = await self._cursor()
        found = replace(found, snapshot_as_of=self.snapshot.as_of.isoformat() if self.snapshot.as_of else None)
        model = await self._model(cursor)
        if isinstance(model, str):
            async with self.connection.transaction():
                return await self._noted(replace(found, outcome="postponed", reason=model), Tally())
        tally = Tally()
        async with (
            Downloads(self.session, self.changes.objects, self.connection) as changes,
            JobRows(changes.download, self.changes, table, tally, self.how.progress) as changed,
            Downloads(self.session, self.snapshot.objects, self.connection) as objects,
            JobRows(objects.download, self.snapshot, table, tally, self.how.progress) as rows,
            self.connection.transaction(),
        ):
            # The few changes first: a download that waits for long is cut off, and must resume.
            keys = None if changed.empty else await self._stage_keys(model, changed)
            staged = Staging(self.connection, model, incremental=False, prefix="compare")
            await staged.create()
            await staged.fill(rows)
            log.info("%s: staged a snapshot of %s rows; comparing now.", table, f"{staged.rows:,}")
            comparison = Comparison(self.connection, model, staged)
            there = await comparison.find()
            left_out, inside = 0, 0
            if keys is not None:
                left_out, inside = await comparison.leave_out(keys, self.snapshot.as_of)
            kept = await comparison.keep_extra() if self.how.append_only else 0
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
            if (there or staged.rows) and found.rows_compared == found.differences == 0:
                found = replace(found, outcome="postponed", reason=_nothing_compared(staged.rows, found))
            if self.how.repair and kinds:
                self.how.guard.check_deleted(staged, there, found.extra, "repair")
                await self._repair(model, staged, comparison, found)
                await self._check_repaired(Comparison(self.connection, model, staged, "repaired"), keys)
                found = replace(found, outcome="repaired")
                there += found.missing - found.extra
            # The official client knows nothing of our lock: what it has loaded meanwhile is no difference.
            await self._cursor()
            result = await self._noted(found, tally, there, comparison)
            await comparison.drop()
            for table_of_ours in (staged, keys):
                if table_of_ours is not None:
                    await table_of_ours.drop()
        return result

    async def _cursor(self) -> Cursor:
        """The table's cursor, at the end of the changes.

        :raises TransientError: it is elsewhere.
        """
        table = self.result.table
        cursor = await cursors.read(self.connection, table)
        if cursor is None or cursor.since != self.changes.as_of:
            raise TransientError(
                f"{table}: another process has moved its cursor while it was verified: it will be verified again."
            )
        return cursor

    async def _model(self, cursor: Cursor) -> TableModel | str:
        """The columns that are compared; or why they cannot be: one of the three is of another version."""
        table = self.result.table
        described = await schemas.described(self.session, self.connection, table, self.snapshot, cursor.schema_version)
        versions = {described.version, cursor.schema_version, self.snapshot.schema_version, self.changes.schema_version}
        if len(versions) > 1:
            return f"its schema has just changed (versions {', '.join(map(str, sorted(versions)))}); verify it again"
        model = table_model(table, described.schema, described.version)
        relation = await self.connection.fetchval("SELECT to_regclass($1::text)::oid", table.quoted)
        return with_type_names(model, await names_of_types(self.connection, model, relation))

    async def _stage_keys(self, model: TableModel, changed: JobRows) -> Staging:
        """Stage the keys of the changes, and when each changed last."""
        keys = model.limited_to([column.source for column in model.columns if column.key])
        staged = Staging(self.connection, keys, incremental=True)
        await staged.create()
        await staged.fill(changed)
        return staged

    async def _repair(self, model: TableModel, staged: Staging, comparison: Comparison, found: Verification) -> None:
        """Make equal what differs; constraints that users created judge the result, as after a load."""

        async def deletes() -> bool:
            return found.extra > 0

        alteration = Alteration(self.connection, model.name, Touched())
        apply = partial(staged.apply_some, comparison.differences, (found.missing + found.different, found.extra))
        await satisfied(self.connection, model, alteration, apply, deletes)
        await alteration.finish()

    async def _check_repaired(self, again: Comparison, keys: Staging | None) -> None:
        """Compare once more if users' triggers may have changed other rows than those that were repaired.

        :param again: not done yet.
        :param keys: of the changes.
        :raises TableFailure: they have; the caller must roll back.
        """
        table = self.result.table
        if not await obstacles.has_triggers(self.connection, table):
            return
        await again.find()
        if keys is not None:
            await again.leave_out(keys, self.snapshot.as_of)
        if self.how.append_only:
            await again.keep_extra()
        if different := sum((await again.by_kind()).values()):
            raise obstacles.still_different(table, different)
        await again.drop()

    async def _noted(
        self, found: Verification, tally: Tally, there: int | None = None, comparison: Comparison | None = None
    ) -> TableResult:
        """Note what was found, in the open transaction.

        :param there: how many rows the table has.
        :param comparison: has the keys of the rows that differed.
        """
        written, deleted = (found.missing + found.different, found.extra) if found.outcome == "repaired" else (0, 0)
        result = replace(
            self.result,
            verification=found,
            rows_upserted=written,
            rows_deleted=deleted,
            bytes_downloaded=tally.bytes,
            duration_s=self.how.seconds,
        )
        await questions.forget(self.connection, result.table)
        verification = await journal.note(self.connection, result, there, self.how.run)
        if comparison is not None:
            await comparison.note_keys(verification)
        well = found.outcome == "equal"
        log.log(logging.INFO if well else logging.WARNING, "%s: %s.", result.table, found)
        return result


def _nothing_compared(rows: int, found: Verification) -> str:
    """Why a table that has rows was not found equal, although nothing differs.

    :param rows: how many the snapshot has.
    """
    if rows == 0:
        return (
            f"the snapshot is empty, so none of the table's rows could be compared ({found.rows_kept:,} would be rows "
            "that DAP no longer has)"
        )
    return f"each of the snapshot's {rows:,} row(s) has changed since, so none could be compared; verify it again"
