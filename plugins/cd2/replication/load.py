"""One job into one table, in the caller's transaction: what init, sync and re-init do, each on one screen.

Long work (download, staging) comes before the locks that readers would wait for.
"""

from __future__ import annotations

import logging

import asyncpg

from cd2.errors import ReinitRequired, TableFailure
from cd2.replication.alter import Alteration
from cd2.replication.feed import Feed
from cd2.replication.schema import NarrowEnum, SchemaPlan, TableModel
from cd2.replication.staging import Staging, add_key
from cd2.results import Dependents

log = logging.getLogger(__name__)


class Load:
    """The load of a finished job.

    :param connection: in a transaction.
    :param plan: what the table's schema lacks; its additive part is done.
    :param model: the columns that the job's data has.
    :param feed: the job's rows.

    After one of its methods, `rows_upserted`, `rows_deleted` and `dependents` say what was done.
    """

    def __init__(self, connection: asyncpg.Connection, plan: SchemaPlan, model: TableModel, feed: Feed) -> None:
        self._connection = connection
        self._plan = plan
        self._model = model
        self._feed = feed
        self._where = f"{model.namespace}.{model.table}"
        self._alteration = Alteration(connection, model.namespace, model.table)
        self.rows_upserted = 0
        self.rows_deleted = 0
        self.dependents = Dependents()

    async def init(self) -> None:
        """Create the table and fill it with a snapshot."""
        await self._connection.execute(self._plan.create)
        if any(column.array for column in self._model.columns):
            # Arrays arrive as JSON, which COPY cannot turn into arrays.
            staging = await self._staged()
            await staging.insert_into_new()
            await staging.drop()
        else:
            await self._feed.copy(self._connection, self._model, self._model.namespace, self._model.table, meta=False)
            self.rows_upserted = self._feed.tally.rows
        self.rows_upserted -= await add_key(self._connection, self._model, self._plan.add_key)
        self.dependents = await self._alteration.finish()

    async def sync(self) -> None:
        """Apply an incremental: deletes, then upserts; the schema follows.

        :raises ReinitRequired: the rows that the replica has cannot be brought into the new schema.
        """
        if self._feed.empty and not self._plan.changes:
            self.dependents = await self._alteration.finish()
            return
        staging = await self._staged()
        if self._plan.breaking:
            try:
                await self._alteration.run(self._plan.breaking)
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.CannotCoerceError):
                raise ReinitRequired(
                    f"{self._where}: values of the replica do not fit their column's new type: it needs a new snapshot."
                ) from None
        await staging.apply_changes()
        await staging.drop()
        await self._close(ReinitRequired)
        self.dependents = await self._alteration.finish()

    async def reinit(self) -> None:
        """Make a table that exists equal to a snapshot.

        Only what differs is written, and readers see the old rows until the commit. Where the schema's change does not
        let the old rows stay (another key, values that do not fit), all are replaced.
        """
        staging = await self._staged()
        replace = self._plan.key_differs
        if self._plan.breaking and not replace:
            try:
                await self._alteration.run(self._plan.breaking)
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.CannotCoerceError):
                replace = True
        if replace:
            await self._connection.execute(f"DELETE FROM {self._model.qualified}")
            for statements in (self._plan.breaking, self._plan.replace_key):
                if statements:
                    await self._alteration.run(statements)
        await staging.apply_snapshot()
        await staging.drop()
        await self._close(TableFailure)
        self.dependents = await self._alteration.finish()

    async def _staged(self) -> Staging:
        staging = Staging(self._connection, self._model, self._feed.incremental)
        await staging.create()
        await staging.fill(self._feed)
        self.rows_upserted, self.rows_deleted = await staging.counts()
        log.info(
            "%s: %s rows to write and %s to delete are staged; they are applied now.",
            self._where,
            f"{self.rows_upserted:,}",
            f"{self.rows_deleted:,}",
        )
        return staging

    async def _close(self, failure: type[ReinitRequired | TableFailure]) -> None:
        """The changes of the schema that the applied rows must allow first."""
        for step in self._plan.closing:
            blocked = await self._connection.fetchval(step.check_sql)
            if isinstance(step, NarrowEnum):
                await self._narrow(step, blocked)
            elif not blocked:
                await self._alteration.run(step.sql)
            else:
                remedy = "it needs a new snapshot" if failure is ReinitRequired else "report this table to Instructure"
                raise failure(
                    f"{self._where}: {', '.join(step.columns)} must have a value in every row now, but some have "
                    f"none: {remedy}.",
                    type="23502",
                )

    async def _narrow(self, step: NarrowEnum, held: bool) -> None:
        """A value too many in a type is not worth failing a table for."""
        why = "rows still hold it"
        if not held:
            try:
                return await self._alteration.run(step.sql)
            except (asyncpg.DependentObjectsStillExistError, asyncpg.FeatureNotSupportedError, TableFailure) as error:
                why = f"another object uses the type ({str(error).splitlines()[0]})"
        log.warning(
            "%s: %s no longer has the value %s in its schema, but %s: the value stays.",
            self._where,
            step.type,
            ", ".join(step.removed),
            why,
        )
        return None
