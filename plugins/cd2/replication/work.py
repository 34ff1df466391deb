"""One attempt at one table: what it works on, and what its result is made of."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from cd2.errors import Cd2Error, ReinitRequired, TransientError
from cd2.replication import schema, state
from cd2.replication.api import DapSession, Job
from cd2.replication.feed import Feed
from cd2.replication.load import Load
from cd2.replication.schema import SchemaPlan, TableModel
from cd2.results import Action, Dependents, State, TableResult

log = logging.getLogger(__name__)


class Work:
    """One attempt at one table: what its result is made of."""

    def __init__(self, namespace: str, table: str, action: Action, asked: bool = True) -> None:
        self.namespace = namespace
        self.table = table
        self.action = action
        self.asked = asked
        self.job: Job | None = None
        self.feed: Feed | None = None
        self.load: Load | None = None
        self._started = time.monotonic()

    @property
    def name(self) -> str:
        return f"{self.namespace}.{self.table}"

    def decide(self, job: Job, plan: SchemaPlan) -> None:
        """An init becomes a re-init where the table exists.

        :raises ReinitRequired: changes are of no use for this table.
        """
        if job.since is None and plan.exists:
            self.action = "reinit"
        elif job.since is not None and (plan.key_differs or not plan.exists):
            raise ReinitRequired(f"{self.name}: the table is gone, or its key is another: it needs a new snapshot.")

    def result(
        self,
        outcome: State,
        before: state.Cursor | None = None,
        after: state.Cursor | None = None,
        error: Cd2Error | None = None,
    ) -> TableResult:
        last = after or before
        # What a failed load did was rolled back.
        load = self.load if error is None else None
        return TableResult(
            self.namespace,
            self.table,
            self.action,
            outcome,
            rows_upserted=load.rows_upserted if load else 0,
            rows_deleted=load.rows_deleted if load else 0,
            bytes_downloaded=self.feed.tally.bytes if self.feed else 0,
            since=before.since.isoformat() if before else None,
            data_as_of=last.since.isoformat() if last else None,
            schema_version=last.schema_version if last else None,
            duration_s=round(time.monotonic() - self._started, 3),
            job_id=self.job.id if self.job else None,
            dependents=load.dependents if load else Dependents(),
            error=error.info if error else None,
        )


def is_past(job: Job, cursor: state.Cursor | None, where: str) -> bool:
    """Whether another process has meanwhile loaded what this incremental brings.

    :raises ReinitRequired: the cursor is gone.
    :raises TransientError: the cursor was set back, and the job begins too late for it.
    """
    if job.since is None or job.as_of is None:
        return False
    if cursor is None:
        raise ReinitRequired(f"{where}: its row in instructure_dap.table_sync is gone: it needs a new snapshot.")
    if job.since > cursor.since:
        raise TransientError(
            f"{where}: its cursor was set back to {cursor.since.isoformat()} while changes since "
            f"{job.since.isoformat()} were on their way: it is tried again from there."
        )
    if job.since < cursor.since and job.as_of <= cursor.since:
        log.info("%s: another process has loaded the changes up to %s already.", where, cursor.since.isoformat())
        return True
    return False


async def models(
    work: Work, session: DapSession, job: Job, before: state.Cursor | None, feed: Feed
) -> tuple[TableModel, TableModel]:
    """What the table shall be, and which part of it the job's data has.

    They differ only if DAP's schema went on after the job was made: the columns that are not in the data come with the
    next sync then, unless the table has them already.
    """
    versioned = await session.schema(work.namespace, work.table)
    model = schema.table_model(work.namespace, work.table, versioned.schema, versioned.version)
    if job.schema_version > versioned.version:
        raise TransientError(
            f"{work.name}: the data has version {job.schema_version} of the schema, but DAP still describes version "
            f"{versioned.version}: it is tried again."
        )
    if job.schema_version == versioned.version or not feed.columns:
        return model, model
    delivered = model.limited_to(feed.columns)
    if before is not None and before.schema_version >= versioned.version:
        return model, delivered
    delivered = replace(delivered, version=job.schema_version)
    return delivered, delivered
