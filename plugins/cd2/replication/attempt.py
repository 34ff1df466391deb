"""One attempt at one table: its result or failure, and the decisions that depend on the cursor."""

from __future__ import annotations

import json
import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.bookkeeping import cursors, ledger
from cd2.replication.bookkeeping.cursors import Cursor
from cd2.replication.dap import jobs
from cd2.replication.database.connection import connected
from cd2.replication.errors import OLDER_SCHEMA, Cd2Error, ReinitRequired, TableFailure, TransientError
from cd2.replication.failures import classify
from cd2.replication.load.objects import Tally
from cd2.replication.load.rows import MISSING_COLUMN
from cd2.replication.results import Action, Applied, SchemaChange, State, TableResult
from cd2.replication.schema import catalog
from cd2.replication.schema.differences import differences, some
from cd2.replication.schema.model import TableModel, table_model
from cd2.replication.sqlerrors.quoting import raised_by_code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Set
    from types import TracebackType

    from dap.dap_types import VersionedSchema

    from cd2.replication.dap.session import Job
    from cd2.replication.database.connection import DatabaseTarget
    from cd2.replication.names import TableName
    from cd2.replication.schema.plan import SchemaPlan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One attempt at one table.

    :param last_try: no other try follows if this attempt fails.
    :param run: the id of the run that it belongs to.
    :param requested: whether a person requested the init.
    :param accept_shrink: a person has confirmed that many rows go.
    :param started: seconds of the monotonic clock.
    :param tally: counts what comes over the network during the attempt.
    """

    table: TableName
    action: Action
    job_id: str | None = None
    last_try: bool = False
    run: str | None = None
    requested: bool = True
    accept_shrink: bool = False
    started: float = field(default_factory=time.monotonic)
    tally: Tally = field(default_factory=Tally)

    @property
    def what(self) -> str:
        """To begin a sentence: `canvas.users: sync`."""
        return f"{self.table}: {self.action}"

    def result(
        self,
        outcome: State,
        before: Cursor | None = None,
        after: Cursor | None = None,
        applied: Applied | None = None,
        error: Cd2Error | None = None,
        notes: tuple[str, ...] = (),
    ) -> TableResult:
        """How the attempt ended.

        :param before: the cursor that it found.
        :param after: the cursor that it left, if it moved.
        :param applied: what it changed; None: nothing.
        """
        applied = applied or Applied()
        last = after or before
        return TableResult(
            self.table,
            self.action,
            outcome,
            rows_upserted=applied.rows_upserted,
            rows_deleted=applied.rows_deleted,
            rows_kept=applied.rows_kept,
            bytes_downloaded=self.tally.bytes,
            since=before.since.isoformat() if before else None,
            data_as_of=last.since.isoformat() if last else None,
            schema_version=last.schema_version if last else None,
            duration_s=round(time.monotonic() - self.started, 3),
            job_id=self.job_id,
            dependents=applied.dependents,
            error=error.info if error else None,
            notes=(*notes, *applied.notes),
        )

    def loaded(
        self, before: Cursor | None, after: Cursor, applied: Applied, *, altered: bool, notes: tuple[str, ...]
    ) -> TableResult:
        """How a load ended.

        :param altered: whether it changed the table's schema.
        """
        outcome: State = "complete"
        if self.action != "sync":
            outcome = "initialized"
        elif altered or before is None or before.schema_version != after.schema_version:
            outcome = "complete_with_schema_update"
        return self.result(outcome, before, after, applied, notes=notes)


class Reported:
    """Turns a failure of an attempt into a `Cd2Error` with the table's result, and notes it in the ledger.

    When nested, only the innermost notes it. A sync that needs a new snapshot has not failed.
    """

    def __init__(self, target: DatabaseTarget, attempt: Attempt) -> None:
        self._target = target
        self._attempt = attempt

    async def __aenter__(self) -> None:
        """Nothing to do."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise the failure in our words.

        :raises Cd2Error: with the table's result.
        """
        if not isinstance(error, Exception):
            return
        failure = classify(error, self._attempt.what)
        snapshot_helps = isinstance(failure, ReinitRequired) and self._attempt.action == "sync"
        if failure.result is None and not snapshot_helps:
            if self._attempt.last_try:
                failure.is_last()
            failure.result = await self._note(failure)
        raise failure from None

    async def _note(self, failure: Cd2Error) -> TableResult:
        """Note a failure in the ledger, if the database can be reached."""
        attempt = self._attempt
        result = attempt.result("failed", error=failure)
        with suppress(Exception):  # the original failure matters more
            async with connected(self._target, patience_s=0) as connection:
                if not jobs.keeps_its_job(failure):
                    await jobs.forget(connection, attempt.table)
                result = attempt.result("failed", await cursors.read(connection, attempt.table), error=failure)
                await ledger.failed(connection, result, failure, attempt.run)
        return result


def decide(table: TableName, job: Job, plan: SchemaPlan, before: Cursor | None) -> Action:
    """What to do with a job: a snapshot of a table that exists is a re-init.

    :param before: the cursor that the table has.
    :raises ReinitRequired: the job holds changes that cannot be applied to this table.
    """
    if job.since is None:
        return "reinit" if plan.exists else "init"
    if plan.key_differs or not plan.exists:
        raise ReinitRequired(f"{table}: the table is missing, or its key has changed: it needs a new snapshot.")
    held = before.held if before else None
    if held and held.relation != plan.relation:
        raise ReinitRequired(
            f"{table}: somebody has replaced the table since the last load, perhaps by one from a dump: it needs a new "
            "snapshot."
        )
    moved = {name for name, number in plan.numbers.items() if held and held.columns.get(name, number) != number}
    if altered := sorted({*plan.altered, *moved}):
        raise ReinitRequired(
            f"{table}: somebody has dropped, renamed or changed {', '.join(altered)} since the last load: it needs a "
            "new snapshot."
        )
    if plan.unproven:
        raise ReinitRequired(
            f"{table}: {some(plan.unproven)} may have values that are not Canvas's: it needs a new snapshot."
        )
    return "sync"


def already_loaded(table: TableName, job: Job, cursor: Cursor | None) -> bool:
    """Whether another process has already loaded the changes of this job.

    :raises ReinitRequired: the cursor is gone.
    :raises TransientError: the cursor was set back, and the job starts after it.
    """
    if job.since is None or job.as_of is None:
        return False
    if cursor is None:
        raise ReinitRequired(f"{table}: its row in instructure_dap.table_sync is gone: it needs a new snapshot.")
    if job.since > cursor.since:
        raise TransientError(
            f"{table}: its cursor was set back to {cursor.since.isoformat()} while changes since "
            f"{job.since.isoformat()} were being fetched: it will be retried from there."
        )
    if job.since < cursor.since and job.as_of <= cursor.since:
        log.info("%s: another process has already loaded the changes up to %s.", table, cursor.since.isoformat())
        return True
    return False


def changes_since(before: Cursor | None, model: TableModel, kept: Collection[str]) -> tuple[SchemaChange, ...]:
    """What has changed in a table's schema.

    :param kept: columns that DAP no longer has, and that stay.
    """
    return differences(before.description, before.schema_version, model, kept) if before else ()


def models(
    table: TableName, job: Job, described: VersionedSchema, before: Cursor | None, columns: Set[str]
) -> tuple[TableModel, TableModel]:
    """What the table should be, and the part of it that the job's data has.

    A job is loaded by the schema of its data, and the next sync brings what has changed since. They differ if that
    schema is not known, or if the table follows a newer one already.

    :param described: the schema of the data, or a newer one.
    :param columns: the columns of the data; none if there is no object.
    :raises TransientError: another job may help.
    """
    model = table_model(table, described.schema, described.version)
    for note in model.notes:
        log.warning("%s", note)
    if job.schema_version > described.version:
        raise TransientError(
            f"{table}: the data has version {job.schema_version} of the schema, but DAP still describes version "
            f"{described.version}: it will be retried."
        )
    if job.schema_version == described.version or not columns:
        return model, model
    if before is not None and before.schema_version == job.schema_version:
        with suppress(Cd2Error, ValueError):
            older = table_model(table, json.loads(before.description), before.schema_version)
            if {column.source for column in older.columns} <= columns:
                return older, older
    delivered = model.limited_to(columns)
    if delivered.key != model.key:
        raise _misfit(table, job, model)
    return model, delivered


@asynccontextmanager
async def by_its_schema(
    connection: asyncpg.Connection, table: TableName, job: Job, model: TableModel
) -> AsyncIterator[None]:
    """If the data does not fit a schema that is newer, the block fails temporarily: another job is asked for.

    So it does if people have changed the table meanwhile: then nothing that PostgreSQL says is about the data.

    :param connection: outside of a transaction.
    :param model: what the table should be.
    """
    before = await catalog.state(connection, table)
    try:
        try:
            yield
        except asyncpg.PostgresError as error:
            if raised_by_code(error) or connection.is_closed() or await catalog.state(connection, table) == before:
                raise
            raise TransientError(
                f"{table}: somebody has changed the table or its columns while it was loaded: it will be retried."
            ) from None
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.CannotCoerceError) as error:
        if job.schema_version == model.version or raised_by_code(error):
            raise
        raise _misfit(table, job, model) from None
    except TableFailure as failure:
        if job.schema_version == model.version or failure.type not in (MISSING_COLUMN, "23502"):
            raise
        raise _misfit(table, job, model) from None


def _misfit(table: TableName, job: Job, model: TableModel) -> TransientError:
    return TransientError(
        f"{table}: the data of job {job.id} has version {job.schema_version} of the schema, and does not fit version "
        f"{model.version}, which DAP describes now. The job is of no use: the retry asks for a new one.",
        type=OLDER_SCHEMA,
    )
