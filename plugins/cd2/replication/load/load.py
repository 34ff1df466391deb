"""Loads one job into one table, in the caller's transaction: init, sync and re-init, each on one screen.

The long work (download, staging) comes before the locks that readers would wait for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.errors import ReinitRequired, TableFailure
from cd2.replication.load import obstacles
from cd2.replication.load.guard import Guard
from cd2.replication.load.staging import Staging, add_key
from cd2.replication.results import Action, Applied
from cd2.replication.schema.closing import NarrowEnum

if TYPE_CHECKING:
    from cd2.replication.load.rows import JobRows
    from cd2.replication.schema.alter import Alteration
    from cd2.replication.schema.model import TableModel
    from cd2.replication.schema.plan import SchemaPlan

log = logging.getLogger(__name__)

_DOES_NOT_FIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.CannotCoerceError)
"""What PostgreSQL raises if values do not fit their column's new type."""


@dataclass(frozen=True)
class Load:
    """The load of a finished job.

    :param connection: in a transaction.
    :param plan: the missing DDL; its additive part is done.
    :param model: the columns of the job's data.
    :param rows: the job's rows.
    :param alteration: runs the DDL, on the same connection.
    :param guard: how many rows may go.
    """

    connection: asyncpg.Connection
    plan: SchemaPlan
    model: TableModel
    rows: JobRows
    alteration: Alteration
    guard: Guard

    async def run(self, action: Action) -> Applied:
        """Load the job.

        :raises ReinitRequired: (sync) the rows of the replica do not fit the new schema.
        :raises TableFailure: (re-init) the snapshot does not fit its schema; or users' objects on the table keep rows
            from being changed; or far too many rows would go.
        :raises asyncpg.PostgresError: anything else that PostgreSQL rejects.
        """
        match action:
            case "init":
                return await self.init()
            case "sync":
                return await self.sync()
            case "reinit":
                return await self.reinit()

    async def init(self) -> Applied:
        """Create the table and fill it with a snapshot."""
        await self.connection.execute(self.plan.create)
        if any(column.array for column in self.model.columns):
            # Arrays arrive as JSON, which COPY cannot convert.
            staging = await self._staged()
            written = await staging.insert_into_new()
            await staging.drop()
        else:
            table = self.model.name
            written = await self.rows.copy(self.connection, self.model, table.namespace, table.table, meta=False)
        written -= await add_key(self.connection, self.model, self.plan.add_key)
        return Applied(written, 0, await self.alteration.finish())

    async def sync(self) -> Applied:
        """Apply an incremental: deletes, then upserts. The schema changes first, and what needs the new rows last."""
        if self.rows.empty and not self.plan.changes:
            return Applied(dependents=await self.alteration.finish())
        await obstacles.find(self.connection, self.model.name)
        staging = await self._staged()
        if self.plan.breaking:
            try:
                await self.alteration.run(self.plan.breaking)
            except _DOES_NOT_FIT:
                raise ReinitRequired(
                    f"{self.model.name}: values in the replica do not fit their column's new type: it needs a new "
                    "snapshot."
                ) from None
        written, deleted = await staging.apply_changes()
        await self.guard.check_changes(self.connection, self.model.name, deleted)
        await staging.drop()
        await self._run_closing(ReinitRequired)
        return Applied(written, deleted, await self.alteration.finish())

    async def reinit(self) -> Applied:
        """Make a table that exists equal to a snapshot.

        Only rows that differ are written, and readers see the old rows until the commit. If the old rows cannot live
        under the new schema (another key, values that do not fit), all are replaced.
        """
        await obstacles.find(self.connection, self.model.name)
        staging = await self._staged()
        there = await self.guard.check_snapshot(self.connection, self.model.name, staging.rows)
        replaced = 0
        replace = self.plan.key_differs
        if self.plan.breaking and not replace:
            try:
                await self.alteration.run(self.plan.breaking)
            except _DOES_NOT_FIT:
                replace = True
        if replace:
            await self.alteration.set_references_aside()
            replaced = await staging.delete_all()
            for statements in (self.plan.breaking, self.plan.replace_key):
                if statements:
                    await self.alteration.run(statements)
        written, deleted = await staging.apply_snapshot()
        # Other rows may have come instead: only now is it known how many go. The caller rolls back.
        self.guard.check(self.model.name, there, deleted, f"the snapshot has {staging.rows:,} row(s)")
        await staging.drop()
        await self._run_closing(TableFailure)
        return Applied(written, replaced + deleted, await self.alteration.finish())

    async def _staged(self) -> Staging:
        staging = Staging(self.connection, self.model, self.rows.incremental)
        await staging.create()
        await staging.fill(self.rows)
        log.info("%s: staged %s rows; applying them now.", self.model.name, f"{staging.rows:,}")
        return staging

    async def _run_closing(self, failure: type[ReinitRequired | TableFailure]) -> None:
        """Run the closing DDL, each step only if the applied rows allow it."""
        for step in self.plan.closing:
            if isinstance(step, NarrowEnum):
                self.alteration.narrow_later(step)
            elif not await self.connection.fetchval(step.check_sql):
                await self.alteration.run(step.sql)
            else:
                remedy = "it needs a new snapshot" if failure is ReinitRequired else "report this table to Instructure"
                raise failure(
                    f"{self.model.name}: {', '.join(step.columns)} must now have a value in every row, but some rows "
                    f"have none: {remedy}.",
                    type="23502",
                )
