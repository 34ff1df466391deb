"""One job into one table, in the caller's transaction: what init, sync and re-init do, each on one screen.

Long work (download, staging) comes before the locks that readers would wait for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.errors import ReinitRequired, TableFailure
from cd2.replication.load.staging import Staging, add_key
from cd2.replication.results import Action, Applied
from cd2.replication.schema.plan import NarrowEnum, SchemaPlan

if TYPE_CHECKING:
    from cd2.replication.load.rows import JobRows
    from cd2.replication.schema.alter import Alteration
    from cd2.replication.schema.model import TableModel

log = logging.getLogger(__name__)

_DOES_NOT_FIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.CannotCoerceError)
"""What PostgreSQL raises where rows cannot follow their column's new type."""


@dataclass(frozen=True)
class Load:
    """The load of a finished job.

    :param connection: in a transaction.
    :param plan: what the table's schema lacks; its additive part is done.
    :param model: the columns that the job's data has.
    :param rows: the job's rows.
    :param alteration: runs the DDL, on the same connection.
    """

    connection: asyncpg.Connection
    plan: SchemaPlan
    model: TableModel
    rows: JobRows
    alteration: Alteration

    async def run(self, action: Action) -> Applied:
        """Do it.

        :raises ReinitRequired: (sync) the rows of the replica cannot be brought into the new schema.
        :raises TableFailure: (re-init) the snapshot does not fit its schema.
        :raises asyncpg.PostgresError: what else PostgreSQL refuses.
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
            # Arrays arrive as JSON, which COPY cannot turn into arrays.
            staging, written, _ = await self._staged()
            await staging.insert_into_new()
            await staging.drop()
        else:
            table = self.model.name
            await self.rows.copy(self.connection, self.model, table.namespace, table.table, meta=False)
            written = self.rows.tally.rows
        written -= await add_key(self.connection, self.model, self.plan.add_key)
        return Applied(written, 0, await self.alteration.finish())

    async def sync(self) -> Applied:
        """Apply an incremental: deletes, then upserts; the schema follows."""
        if self.rows.empty and not self.plan.changes:
            return Applied(dependents=await self.alteration.finish())
        staging, written, deleted = await self._staged()
        if self.plan.breaking:
            try:
                await self.alteration.run(self.plan.breaking)
            except _DOES_NOT_FIT:
                raise ReinitRequired(
                    f"{self.model.name}: values of the replica do not fit their column's new type: it needs a new "
                    "snapshot."
                ) from None
        await staging.apply_changes()
        await staging.drop()
        await self._close_schema(ReinitRequired)
        return Applied(written, deleted, await self.alteration.finish())

    async def reinit(self) -> Applied:
        """Make a table that exists equal to a snapshot.

        Only what differs is written, and readers see the old rows until the commit. Where the schema change does not
        let the old rows stay (another key, values that do not fit), all are replaced.
        """
        staging, written, deleted = await self._staged()
        replace = self.plan.key_differs
        if self.plan.breaking and not replace:
            try:
                await self.alteration.run(self.plan.breaking)
            except _DOES_NOT_FIT:
                replace = True
        if replace:
            await self.connection.execute(f"DELETE FROM {self.model.name.quoted}")
            for statements in (self.plan.breaking, self.plan.replace_key):
                if statements:
                    await self.alteration.run(statements)
        await staging.apply_snapshot()
        await staging.drop()
        await self._close_schema(TableFailure)
        return Applied(written, deleted, await self.alteration.finish())

    async def _staged(self) -> tuple[Staging, int, int]:
        """The job's rows in a staging table; how many are to be written, and how many deleted."""
        staging = Staging(self.connection, self.model, self.rows.incremental)
        await staging.create()
        await staging.fill(self.rows)
        written, deleted = await staging.counts()
        log.info(
            "%s: %s rows to write and %s to delete are staged; they are applied now.",
            self.model.name,
            f"{written:,}",
            f"{deleted:,}",
        )
        return staging, written, deleted

    async def _close_schema(self, failure: type[ReinitRequired | TableFailure]) -> None:
        """Make the changes of the schema that the applied rows must allow first."""
        for step in self.plan.closing:
            blocked = await self.connection.fetchval(step.check_sql)
            if isinstance(step, NarrowEnum):
                await self._narrow(step, blocked)
            elif not blocked:
                await self.alteration.run(step.sql)
            else:
                remedy = "it needs a new snapshot" if failure is ReinitRequired else "report this table to Instructure"
                raise failure(
                    f"{self.model.name}: {', '.join(step.columns)} must now have a value in every row, but some rows "
                    f"have none: {remedy}.",
                    type="23502",
                )

    async def _narrow(self, step: NarrowEnum, held: bool) -> None:
        """Drop values of an enumeration, if that is possible: a value too many is not worth failing a table for."""
        why = "rows still hold it"
        if not held:
            try:
                return await self.alteration.run(step.sql)
            except (asyncpg.DependentObjectsStillExistError, asyncpg.FeatureNotSupportedError, TableFailure) as error:
                why = f"another object uses the type ({str(error).splitlines()[0]})"
        log.warning(
            "%s: the schema of %s no longer has the value %s, but %s: the value stays.",
            self.model.name,
            step.type,
            ", ".join(step.removed),
            why,
        )
        return None
