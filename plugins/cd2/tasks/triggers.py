"""Where `sync_table` and `init_table` begin: in a triggerer, many tables in each process, without a worker slot.

A trigger decides what its table needs, takes a turn at DAP, asks, and waits for the job; a worker then loads. A
restarted triggerer runs its triggers again; they resume with the turns and jobs in `cd2.jobs`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskSkippedEvent, TriggerEvent

from cd2.replication.errors import RefusedCredentials, TableFailure
from cd2.replication.names import TableName
from cd2.replication.waits import Line, Place, Replicators, Waits
from cd2.tasks import credentials
from cd2.tasks.credentials import make_replicator
from cd2.tasks.finding import Found, find_changes, find_snapshot, find_verification
from cd2.tasks.links import LINKS
from cd2.tasks.reporting.outcomes import ERROR, RESULT, RETRIED
from cd2.tasks.verifying import VERIFY, wants_verification

if TYPE_CHECKING:
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)

POOLED = 3
"""Connections to the replica that all triggers of the process share. Each statement takes milliseconds."""
REPLICATORS = Replicators(partial(make_replicator, POOLED))
WAITS = Waits(REPLICATORS)
LINE = Line()
"""Airflow creates each trigger from its stored arguments; what triggers share lives in their process."""
OF_A_TRY = (RESULT, ERROR, *(link.xcom_key for link in LINKS))
"""What a try leaves in XCom. Airflow deletes it when the next one starts in a worker, but not in the triggerer."""


class _TableTrigger(BaseTrigger):
    """Finds out what a table needs, and waits for its job.

    Its event is `Found.to_json`.

    :param list_task_id: the task whose result names the tables, in the order of the map indexes.
    """

    def __init__(self, list_task_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.list_task_id = list_task_id
        self._given_up: datetime | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that Airflow stores."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self._arguments()

    def _arguments(self) -> dict[str, Any]:
        return {"list_task_id": self.list_task_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job; one event reports the outcome."""
        subject = "The table"
        try:
            table = await self._table()
            subject = str(table)
            # While it waits, the grid shows its number only: Airflow renders the name in a worker.
            log.info("%s: %s begins here; a worker loads the job when DAP has finished it.", table, self.task_id)
            self._given_up = await self._when_cleared()
            await self._forget_earlier_try()
            async with REPLICATORS.lease() as replicator:
                found = await WAITS.until_done(
                    replicator, self._run_key, table, self._with_fresh_credentials(replicator, table)
                )
        except Exception as error:
            # Imported here, because this module must stay light; what raised has loaded it already.
            from cd2.replication.failures import classify

            failure = classify(error, f"{subject}: asking DAP")
            # Airflow 3.3.1 tells triggers a wrong number of tries; only the worker, which comes next, knows it.
            log.warning("%s", failure.undecided)
            found = Found(error=failure)
        if found.skip:
            log.info("%s needs no init.", subject)
            yield TaskSkippedEvent()
        else:
            yield TriggerEvent(found.to_json())

    async def _with_fresh_credentials(self, replicator: Replicator, table: TableName) -> Found:
        """What the table needs; refused credentials are looked up once more before they stop all tables."""
        try:
            return await self._find(replicator, table)
        except RefusedCredentials as refused:
            log.warning("%s %s", refused.message, credentials.LOOK_AGAIN)
        REPLICATORS.forget(replicator)
        await asyncio.sleep(credentials.SECOND_LOOK_S)
        async with REPLICATORS.lease() as fresh:
            return await self._find(fresh, table)

    @abstractmethod
    async def _find(self, replicator: Replicator, table: TableName) -> Found:
        """What the table needs."""

    async def _table(self) -> TableName:
        names = await self._pull(self.list_task_id, -1)
        if not isinstance(names, list) or self._ti.map_index >= len(names):
            raise TableFailure(
                f"{self.list_task_id} no longer lists a table number {self._ti.map_index}: clear {self.list_task_id} "
                "with its downstream tasks."
            )
        return TableName.parse(names[self._ti.map_index])

    async def _when_cleared(self) -> datetime | None:
        """When a person cleared the task; None: it is the first try, or a retry by Airflow.

        The job of an earlier try may hang, and clearing is how people give it up. A try that fails and is retried
        leaves its number; one that is cleared while it waits leaves nothing. Each try has a new id, a UUID that begins
        with the time.
        """
        ti = self._ti
        if ti.try_number <= 1 or await self._pull(ti.task_id, ti.map_index, RETRIED) == ti.try_number - 1:
            return None
        return datetime.fromtimestamp((ti.id.int >> 80) / 1000, UTC) if ti.id.version == 7 else None

    async def _forget_earlier_try(self) -> None:
        """Delete what an earlier try left, so that it is not taken for ours if this one is killed."""
        ti = self._ti
        if ti.try_number <= 1:
            return
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import DeleteXCom

        for key in OF_A_TRY:
            await task_runner.SUPERVISOR_COMMS.asend(
                DeleteXCom(key=key, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
            )

    async def _pull(self, task_id: str, map_index: int, key: str = RESULT) -> Any:
        from airflow.sdk.execution_time.xcom import XCom

        ti = self._ti
        return await XCom.aget_one(key=key, dag_id=ti.dag_id, task_id=task_id, run_id=ti.run_id, map_index=map_index)

    @property
    def _ti(self) -> Any:
        return self.task_instance

    @property
    def _place(self) -> Place:
        return LINE.place(self._ti.map_index)  # the list is in the order in which the tables ask

    @property
    def _run_key(self) -> str:
        return f"{self._ti.dag_id} {self._ti.run_id}"


class SyncTrigger(_TableTrigger):
    """The wait of `sync_table`; see `find_changes`."""

    async def _find(self, replicator: Replicator, table: TableName) -> Found:
        params = self._ti.get_template_context()["params"]
        on_its_own = str(table) in (await self._pull(self.list_task_id, -1, VERIFY) or ())
        if on_its_own or wants_verification(params):
            return await find_verification(
                replicator, table, on_its_own=on_its_own, place=self._place, given_up=self._given_up
            )
        full_refresh = bool(params.get("full_refresh"))
        return await find_changes(
            replicator, table, full_refresh=full_refresh, place=self._place, given_up=self._given_up
        )


class InitTrigger(_TableTrigger):
    """The wait of `init_table`; see `find_snapshot`.

    :param sync_task_id: the task whose result at our map index decides.
    """

    def __init__(self, list_task_id: str, sync_task_id: str) -> None:
        super().__init__(list_task_id)
        self.sync_task_id = sync_task_id

    def _arguments(self) -> dict[str, Any]:
        return super()._arguments() | {"sync_task_id": self.sync_task_id}

    async def _find(self, replicator: Replicator, table: TableName) -> Found:
        synced = await self._pull(self.sync_task_id, self._ti.map_index)
        return await find_snapshot(replicator, table, synced=synced, place=self._place, given_up=self._given_up)
