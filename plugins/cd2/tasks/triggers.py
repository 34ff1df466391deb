"""Waits for a turn at DAP and for a job to finish, without a worker slot.

Runs in the triggerer, many tables in one process. A restarted triggerer runs its triggers again; they resume with the
turns and jobs in `cd2.jobs`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from cd2.replication.errors import StopAll, from_json, to_json
from cd2.replication.names import TableName
from cd2.tasks.credentials import make_replicator

if TYPE_CHECKING:
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)

PATIENCE_TRIES = 20
"""How often to ask while DAP answers 429: waiting costs nothing here."""
SETTLE_S = 4.0
"""How long after a heartbeat the executor reports to the scheduler that the deferring process has ended. Airflow 3.3.1
takes a task that runs again before that for a killed one, and fails its try ("task state changed externally")."""
REPLICATOR_LIFE_S = 300.0
"""How long one lookup of the credentials is shared: 90 triggers may start at once."""
STOPPED_KEPT = 20
"""How many stopped runs are remembered."""


class JobTrigger(BaseTrigger):
    """Asks DAP for a table's snapshot or changes and waits until the job is done.

    Its event is `{"job_id": ...}` or `{"error": ...}` (`cd2.replication.errors.to_json`); see `job_of`.

    :param table: `namespace.table`.
    :param since: the changes since then, ISO 8601 in UTC; None: a snapshot.
    :param run: identifies the DAG run, differently after each clear; a StopAll ends all waits of the same run.
    """

    def __init__(self, table: str, since: str | None, run: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = table
        self.since = since
        self.run_key = run

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that Airflow stores."""
        arguments = {"table": self.table, "since": self.since, "run": self.run_key}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job; one event reports the outcome."""
        not_before = time.monotonic() + _settle_s()
        try:
            since = datetime.fromisoformat(self.since) if self.since else None
            replicator = await REPLICATOR.get()
            job = replicator.ask(TableName.parse(self.table), since, tries=PATIENCE_TRIES)
            event = TriggerEvent({"job_id": await WAITS.until_done(self.run_key, job)})
        except Exception as error:
            # Imported here, because this module must stay light; what raised has loaded it already.
            from cd2.replication.failures import classify

            failure = classify(error, f"{self.table}: asking DAP")
            log.warning("%s", failure.message)
            event = TriggerEvent({"error": to_json(failure)})
        await asyncio.sleep(not_before - time.monotonic())
        yield event


def job_of(event: dict[str, Any]) -> str:
    """The id of the finished job.

    :raises Cd2Error: the failure that the event reports.
    """
    if error := event.get("error"):
        raise from_json(error)
    return str(event["job_id"])


def _settle_s() -> float:
    return conf.getfloat("workers", "min_heartbeat_interval") + SETTLE_S


class SharedReplicator:
    """One replicator for all triggers of the process, replaced when it is `REPLICATOR_LIFE_S` old."""

    def __init__(self) -> None:
        self._made: Replicator | None = None
        self._until = 0.0
        self._lock: asyncio.Lock | None = None

    async def get(self) -> Replicator:
        """The replicator.

        :raises StopAll: settings or credentials are wrong.
        """
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if self._made is None or time.monotonic() > self._until:
                # In a thread: the lookups block, and so does the first import of the DAP client.
                self._made = await asyncio.to_thread(make_replicator)
                self._until = time.monotonic() + REPLICATOR_LIFE_S
            return self._made

    def forget(self) -> None:
        """Make `get` look the credentials up again: they were refused."""
        self._made = None


class Waits:
    """The waits of this process: a `StopAll` of one table ends all waits of its run.

    :param replicator: replaced after a stop.
    """

    def __init__(self, replicator: SharedReplicator) -> None:
        self._replicator = replicator
        self._waiting: dict[str, set[asyncio.Task[str]]] = {}
        self._stopped: dict[str, StopAll] = {}

    async def until_done(self, run: str, work: Coroutine[Any, Any, str]) -> str:
        """Wait for the work, or until another table of the run stops all.

        :raises StopAll: the failure of this or the other table.
        """
        if stop := self._stopped.get(run):
            work.close()
            raise stop
        task: asyncio.Task[str] = asyncio.ensure_future(work)
        siblings = self._waiting.setdefault(run, set())
        siblings.add(task)
        try:
            return await asyncio.shield(task)
        except StopAll as stop:
            self._stop(run, stop, siblings - {task})
            raise
        except asyncio.CancelledError:
            if task.cancelled() and run in self._stopped:
                raise self._stopped[run] from None
            task.cancel()  # our trigger is being canceled
            raise
        finally:
            siblings.discard(task)
            if not siblings:
                self._waiting.pop(run, None)

    def _stop(self, run: str, stop: StopAll, others: set[asyncio.Task[str]]) -> None:
        self._replicator.forget()
        while len(self._stopped) >= STOPPED_KEPT:
            self._stopped.pop(next(iter(self._stopped)))
        self._stopped[run] = stop
        for other in others:
            other.cancel()


REPLICATOR = SharedReplicator()
WAITS = Waits(REPLICATOR)
"""Airflow creates each trigger from its serialized arguments; what triggers share lives in their process."""
