"""One attempt at one table: its result or failure, and the decisions that depend on the cursor."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cd2.replication.bookkeeping import cursors, freshness
from cd2.replication.bookkeeping.cursors import Cursor
from cd2.replication.dap import jobs
from cd2.replication.database.connection import connected
from cd2.replication.errors import Cd2Error, ReinitRequired, TransientError
from cd2.replication.failures import classify
from cd2.replication.load.objects import Tally
from cd2.replication.results import Action, Applied, State, TableResult
from cd2.replication.schema.model import TableModel, table_model

if TYPE_CHECKING:
    from collections.abc import Set
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
    :param started: seconds of the monotonic clock.
    :param tally: counts what comes over the network during the attempt.
    """

    table: TableName
    action: Action
    job_id: str | None = None
    last_try: bool = False
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
            bytes_downloaded=self.tally.bytes,
            since=before.since.isoformat() if before else None,
            data_as_of=last.since.isoformat() if last else None,
            schema_version=last.schema_version if last else None,
            duration_s=round(time.monotonic() - self.started, 3),
            job_id=self.job_id,
            dependents=applied.dependents,
            error=error.info if error else None,
            notes=notes,
        )

    def loaded(
        self, before: Cursor | None, after: Cursor, applied: Applied, altered: bool, notes: tuple[str, ...]
    ) -> TableResult:
        """How the attempt ended that loaded a job.

        :param altered: whether it changed the table's schema.
        """
        outcome: State = "complete"
        if self.action != "sync":
            outcome = "initialized"
        elif altered or before is None or before.schema_version != after.schema_version:
            outcome = "complete_with_schema_update"
        return self.result(outcome, before, after, applied, notes=notes)


class Reported:
    """Turns a failure of an attempt into a `Cd2Error` with the table's result, and notes it in `cd2.freshness`.

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
        """Note a failure in `cd2.freshness`, if the database can be reached."""
        attempt, cursor = self._attempt, None
        with suppress(Exception):  # the original failure matters more
            async with connected(self._target, patience_s=0) as connection:
                await freshness.failed(connection, attempt.table, failure)
                if not jobs.keeps_its_job(failure):
                    await jobs.forget(connection, attempt.table)
                cursor = await cursors.read(connection, attempt.table)
        return attempt.result("failed", cursor, error=failure)


def decide(table: TableName, job: Job, plan: SchemaPlan) -> Action:
    """What to do with a job: a snapshot of a table that exists is a re-init.

    :raises ReinitRequired: the job holds changes that cannot be applied to this table.
    """
    if job.since is None:
        return "reinit" if plan.exists else "init"
    if plan.key_differs or not plan.exists:
        raise ReinitRequired(f"{table}: the table is missing, or its key has changed: it needs a new snapshot.")
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


def models(
    table: TableName, job: Job, described: VersionedSchema, before: Cursor | None, columns: Set[str]
) -> tuple[TableModel, TableModel]:
    """What the table should be, and the part of it that the job's data has.

    They differ only if DAP's schema has changed since the job was created, and the table follows it already. Otherwise
    a job is loaded by the schema of its data, and the next sync brings the change. DAP describes only the newest
    schema; if the table never had that of the data, it is loaded by the newest one's columns that the data has.

    :param described: DAP's newest schema of the table.
    :param columns: the columns of the data; none if there is no object.
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
    delivered = model.limited_to(columns)
    if before is not None and before.schema_version >= described.version:
        return model, delivered
    if before is not None and before.schema_version == job.schema_version:
        # The schema of the data is the one that the table has: nothing changes before the next sync.
        with suppress(Cd2Error, ValueError):
            older = table_model(table, json.loads(before.description), before.schema_version)
            if {column.source for column in older.columns} <= columns:
                return older, older
    if len(delivered.columns) < len(model.columns):
        delivered = replace(delivered, version=job.schema_version)
    return delivered, delivered
