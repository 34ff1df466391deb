"""Waits that hold no worker slot: for a turn at DAP, and for a job to be done.

Runs in the triggerer, all tables in one process. A triggerer that is started again runs its triggers anew; they go on
with the turns and jobs that `cd2.jobs` holds.
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

from cd2.errors import StopAll, classify, from_json, to_json
from cd2.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)

PATIENCE_TRIES = 20
"""How often a job is asked for while DAP answers 429: waiting costs nothing here."""
SETTLE_S = 4.0
"""How long after a heartbeat the executor tells the scheduler that the process that deferred has ended. A task that
runs again by then is taken for a killed one in Airflow 3.3.1, and its try fails ("task state changed externally")."""
REPLICATOR_LIFE_S = 300.0
"""Credentials are looked up again after so long: 90 triggers that start at once share one look."""


class JobTrigger(BaseTrigger):
    """Asks DAP for a table's rows or changes and waits until the job is done.

    Its event is `{"job_id": ...}` or `{"error": ...}` (`cd2.errors.to_json`); see `job_of`.

    :param since: the changes since then, ISO 8601 in UTC; None: all rows.
    :param run: the DAG run, another one after each clear; what stops all tables stops those of the same run.
    """

    def __init__(self, namespace: str, table: str, since: str | None, run: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.namespace = namespace
        self.table = table
        self.since = since
        self.run_key = run

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = {"namespace": self.namespace, "table": self.table, "since": self.since, "run": self.run_key}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        where = f"{self.namespace}.{self.table}: asking DAP"
        not_before = time.monotonic() + _settle_s()
        try:
            since = datetime.fromisoformat(self.since) if self.since else None
            dap = await _Shared.replicator()
            job_id = await _stoppable(self.run_key, dap.ask(self.namespace, self.table, since, tries=PATIENCE_TRIES))
        except Exception as error:
            failure = classify(error, where)
            log.warning("%s", failure.message)
            event = TriggerEvent({"error": to_json(failure)})
        else:
            event = TriggerEvent({"job_id": job_id})
        await asyncio.sleep(not_before - time.monotonic())
        yield event


def job_of(event: dict[str, Any]) -> str:
    """The id of the finished job.

    :raises Cd2Error: the failure that the event tells of.
    """
    if error := event.get("error"):
        raise from_json(error)
    return str(event["job_id"])


def _settle_s() -> float:
    return conf.getfloat("workers", "min_heartbeat_interval") + SETTLE_S


class _Shared:
    """One replicator for all triggers of the process."""

    _made: Replicator | None = None
    _until = 0.0
    _lock: asyncio.Lock | None = None

    @classmethod
    async def replicator(cls) -> Replicator:
        cls._lock = cls._lock or asyncio.Lock()
        async with cls._lock:
            if cls._made is None or time.monotonic() > cls._until:
                # In a thread: the look-ups block, and so does the first import of the DAP client.
                cls._made = await asyncio.to_thread(_make_replicator)
                cls._until = time.monotonic() + REPLICATOR_LIFE_S
            return cls._made

    @classmethod
    def forget(cls) -> None:
        """Look the credentials up again: they were refused."""
        cls._made = None


def _make_replicator() -> Replicator:
    from cd2.hooks import replicator

    try:
        return replicator(Settings.load())
    except SettingsError as error:
        raise StopAll(str(error)) from None


_waiting: dict[str, set[asyncio.Task[str]]] = {}
_stopped: dict[str, StopAll] = {}
STOPPED_KEPT = 20
"""Runs of which we know that they were stopped."""


async def _stoppable(run: str, work: Coroutine[Any, Any, str]) -> str:
    """Wait for the work, or until another table of the run meets what every table would meet.

    :raises StopAll: that.
    """
    if stop := _stopped.get(run):
        work.close()
        raise stop
    task: asyncio.Task[str] = asyncio.ensure_future(work)
    siblings = _waiting.setdefault(run, set())
    siblings.add(task)
    try:
        return await asyncio.shield(task)
    except StopAll as stop:
        _Shared.forget()
        while len(_stopped) >= STOPPED_KEPT:
            _stopped.pop(next(iter(_stopped)))
        _stopped[run] = stop
        for other in siblings - {task}:
            other.cancel()
        raise
    except asyncio.CancelledError:
        if task.cancelled() and run in _stopped:
            raise _stopped[run] from None
        task.cancel()  # our trigger is being taken away
        raise
    finally:
        siblings.discard(task)
        if not siblings:
            _waiting.pop(run, None)
