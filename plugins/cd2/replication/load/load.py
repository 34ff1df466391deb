"""Loads one job into one table, in the caller's transaction: init, sync and re-init, each on one screen.

The long work (download, staging) comes before the locks that readers would wait for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from cd2.replication.constraints.satisfied import satisfied
from cd2.replication.errors import ReinitRequired, TableFailure
from cd2.replication.load import obstacles, old_rows
from cd2.replication.load.guard import Guard
from cd2.replication.load.staging import Staging
from cd2.replication.load.unique import is_built
from cd2.replication.results import Action, Applied
from cd2.replication.schema.closing import NarrowEnum, RequireColumns
from cd2.replication.sqlerrors.quoting import raised_by_code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cd2.replication.load.rows import JobRows
    from cd2.replication.schema.alter import Alteration
    from cd2.replication.schema.model import TableModel
    from cd2.replication.schema.plan import SchemaPlan

log = logging.getLogger(__name__)

T = TypeVar("T")

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
    :param append_only: rows of the table that DAP no longer has are kept.
    """

    connection: asyncpg.Connection
    plan: SchemaPlan
    model: TableModel
    rows: JobRows
    alteration: Alteration
    guard: Guard
    append_only: bool = False

    async def run(self, action: Action) -> Applied:
        """Load the job.

        :raises ReinitRequired: (sync) the rows of the replica do not fit the new schema, or are gone.
        :raises TableFailure: (re-init) the snapshot does not fit its schema; or users' objects on the table keep rows
            from being changed; or old rows of an append-only table do not fit the new schema; or far too many rows
            would go.
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
        # A new table has what the event triggers of users hang on it.
        triggers = await obstacles.find(self.connection, self.model.name)
        # Arrays arrive as JSON, which COPY cannot convert; and what is published must not have a key twice.
        published = await obstacles.is_published(self.connection, self.model.name)
        if published or triggers or any(column.array for column in self.model.columns):
            written = await self._init_staged(triggers)
        else:
            table = self.model.name
            written = await self.rows.copy(self.connection, self.model, table.namespace, table.table, meta=False)
            if not await is_built(self.connection, self.plan.add_key):
                # Which of the repeated rows is the newest tells their meta.ts, which the table does not have.
                log.info("%s: its snapshot has keys that repeat: loading it again, by staging.", table)
                await self.connection.execute(f"TRUNCATE {table.quoted}")
                written = await self._init_staged(triggers)
        await self.guard.check_new(self.connection, self.model.name, written)
        return Applied(written, 0, await self.alteration.finish(), rows_in_table=written)

    async def _init_staged(self, triggers: tuple[str, ...]) -> int:
        """Fill the new table by staging, which keeps the newest row of each key; :returns: how many rows."""
        staging = await self._staged()
        written = await staging.insert_into_new(triggers)
        await staging.drop()
        await self.connection.execute(self.plan.add_key)
        return written

    async def sync(self) -> Applied:
        """Apply an incremental: deletes, then upserts. The schema changes first, and what needs the new rows last."""
        await self.guard.check_there(self.connection, self.model.name)
        if self.rows.empty and not self.plan.changes:
            return Applied(dependents=await self.alteration.finish())
        await obstacles.find(self.connection, self.model.name)
        staging = await self._staged()
        if self.append_only:
            await self._alter_with_old_rows()
        elif self.plan.breaking:
            try:
                await self.alteration.run(self.plan.breaking)
            except _DOES_NOT_FIT as error:
                if raised_by_code(error):
                    raise
                raise ReinitRequired(
                    f"{self.model.name}: values in the replica do not fit their column's new type: it needs a new "
                    "snapshot."
                ) from None
        written, deleted = await satisfied(
            self.connection, self.model, self.alteration, staging.apply_changes, staging.deletes
        )
        await self.guard.check_changes(self.connection, staging, deleted)
        await staging.drop()
        notes = await self._run_closing(ReinitRequired)
        dependents = await self.alteration.finish()
        return Applied(written, deleted, dependents, staging.kept, notes, rows_added=staging.added)

    async def reinit(self) -> Applied:
        """Make a table that exists equal to a snapshot.

        Only rows that differ are written, and readers see the old rows until the commit. If the old rows cannot live
        under the new schema (another key, values that do not fit), all are replaced. An append-only table keeps them.
        """
        await obstacles.find(self.connection, self.model.name)
        staging = await self._staged()
        there = None
        if self.append_only:
            await self.guard.check_any(self.connection, staging)
        else:
            there = await self.guard.check_snapshot(self.connection, staging)
        replaced = 0
        replace = self.plan.key_differs and not self.append_only
        if self.append_only:
            await self._alter_with_old_rows()
        elif self.plan.breaking and not replace:
            try:
                await self.alteration.run(self.plan.breaking)
            except _DOES_NOT_FIT as error:
                if raised_by_code(error):
                    raise
                replace = True
        if replace:
            await self.alteration.set_references_aside()
            identity = await obstacles.let_delete(self.connection, self.model.name)
            replaced = await self._applied(staging.delete_all)
            for statements in (self.plan.breaking, self.plan.replace_key, identity):
                if statements:
                    await self._alter_empty(statements)
        written, deleted = await satisfied(
            self.connection, self.model, self.alteration, staging.apply_snapshot, staging.deletes
        )
        if there is not None:
            # Other rows may have come instead: only now is it known how many go. The caller rolls back.
            self.guard.check_deleted(staging, there, deleted)
        await staging.drop()
        notes = await self._run_closing(TableFailure)
        dependents = await self.alteration.finish()
        rows = staging.rows + staging.kept
        return Applied(written, replaced + deleted, dependents, staging.kept, notes, rows_in_table=rows)

    async def _staged(self) -> Staging:
        staging = Staging(self.connection, self.model, self.rows.incremental, self.append_only)
        await staging.create()
        await staging.fill(self.rows)
        log.info("%s: staged %s rows; applying them now.", self.model.name, f"{staging.rows:,}")
        return staging

    async def _applied(
        self, apply: Callable[[], Awaitable[T]], deletes: Callable[[], Awaitable[bool]] | None = None
    ) -> T:
        return await satisfied(self.connection, self.model, self.alteration, apply, deletes)

    async def _alter_with_old_rows(self) -> None:
        """Change the schema of an append-only table: all its rows must fit it."""
        await old_rows.check_types(self.connection, self.model, self.plan.touched.changed)
        if self.plan.key_differs:
            await self.alteration.set_references_aside()
        for statements, what in (
            (self.plan.breaking, f"values of {', '.join(self.plan.touched.changed)} are not of its new type"),
            (self.plan.replace_key, f"rows have no value, or the same one, in its new key {', '.join(self.model.key)}"),
        ):
            try:
                if statements:
                    await self.alteration.run(statements)
            except _DOES_NOT_FIT as error:
                if raised_by_code(error):
                    raise
                raise old_rows.misfit(self.model, what) from None

    async def _alter_empty(self, statements: str) -> None:
        """Change the schema of a table without rows: what does not fit is in a table that inherits from it."""
        try:
            await self.alteration.run(statements)
        except _DOES_NOT_FIT as error:
            if raised_by_code(error) or not (children := await obstacles.inheriting(self.connection, self.model.name)):
                raise
            raise obstacles.children_misfit(self.model.name, children) from None

    async def _require(self, step: RequireColumns) -> str | None:
        """Require values that all rows have; :returns: a sentence, if rows of a table that inherits have none."""
        try:
            await self.alteration.run(step.sql)
        except asyncpg.NotNullViolationError as error:
            children = await obstacles.inheriting(self.connection, self.model.name)
            if raised_by_code(error) or not children:
                raise
            return obstacles.children_lack(self.model.name, step.columns, children)
        return None

    async def _run_closing(self, failure: type[ReinitRequired | TableFailure]) -> tuple[str, ...]:
        """Run the closing DDL, each step only if the applied rows allow it.

        :returns: sentences about what old rows did not allow.
        """
        notes = [
            f"{self.model.name}: DAP no longer has the column {name}: it stays, with its old values."
            for name in self.plan.kept
        ]
        for step in self.plan.closing:
            if isinstance(step, NarrowEnum):
                self.alteration.narrow_later(step)
            elif not await self.connection.fetchval(step.check_sql):
                if note := await self._require(step):
                    notes.append(note)
            elif self.append_only:
                notes.append(
                    f"{self.model.name}: {', '.join(step.columns)} must now have a value in every row, but old rows "
                    "have none: they stay, and NULL stays allowed."
                )
            else:
                remedy = "it needs a new snapshot" if failure is ReinitRequired else "report this table to Instructure"
                raise failure(
                    f"{self.model.name}: {', '.join(step.columns)} must now have a value in every row, but some rows "
                    f"have none: {remedy}.",
                    type="23502",
                )
        for note in notes:
            log.warning("%s", note)
        return tuple(notes)
