"""The progress of a run, polled cheaply: only what has changed is fetched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from local.airflow.api import FINISHED, INIT_TASK, LIST_TASK, SYNC_TASK
from local.stack.client import StackClient

OVERLAP = timedelta(seconds=5)
RESULTS_AT_ONCE = 25
GOOD_STATES = {"complete", "complete_with_schema_update", "initialized"}


def failure(result: dict[str, Any]) -> tuple[str, str]:
    """The name of a table that failed, and the reason, which does not repeat it."""
    name = f"{result['namespace']}.{result['table']}"
    reason = (result["error"] or {}).get("message", "no reason was given")
    return name, reason.removeprefix(f"{name}: ")


class Phase(Enum):
    """What a table of a run is doing; the value is what people read after a number of tables."""

    DONE = "done"
    FAILED = "failed"
    LOADING = "loading"
    AT_DAP = "at DAP"
    TURN = "waiting for a turn"
    WORKER = "waiting for a worker"
    RETRY = "waiting for a retry"


class Progress:
    """Tables of a run: what each is doing, the results of those that are done or have failed, rows so far."""

    def __init__(self, stack: StackClient, run_id: str) -> None:
        self._stack, self.run_id = stack, run_id
        self._instances: dict[tuple[str, int], dict[str, Any]] = {}
        self._asked_at: datetime | None = None
        self._at_dap: set[str] = set()
        self.names: list[str] = []
        self.results: dict[int, dict[str, Any]] = {}
        self.state = "queued"

    def refresh(self) -> None:
        """Fetch what has changed from Airflow, and from the replica who waits for what."""
        now = datetime.now(UTC)
        self.state = self._stack.api.run(self.run_id)["state"]
        since = (self._asked_at - OVERLAP).isoformat() if self._asked_at and not self.ended else None
        if since is None:
            self._instances.clear()
        for instance in self._stack.api.task_instances(self.run_id, since):
            self._instances[instance["task_id"], instance["map_index"]] = instance
        self._asked_at = now
        listing = self.task(LIST_TASK)
        if not self.names and listing and listing["state"] == "success":
            self.names = self._stack.names(self.run_id)
        if any(instance["state"] == "deferred" for instance in self._instances.values()):
            self._at_dap = self._stack.tables_with_a_job()
        fresh = [index for index in self._done() if index not in self.results]
        for index in fresh[: None if self.ended else RESULTS_AT_ONCE]:
            self.results[index] = self._stack.table_result(self.run_id, index, self._instances)

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.state in {"success", "failed"}

    @property
    def total(self) -> int:
        """Number of tables; 0 until they are listed."""
        return len(self.names)

    @property
    def rows(self) -> int:
        """Rows written and deleted so far."""
        return sum(result["rows_upserted"] + result["rows_deleted"] for result in self.results.values())

    def phases(self) -> dict[Phase, list[str]]:
        """The tables in each phase that has any: in the order of the list, finished ones with the latest first."""
        found: dict[Phase, list[str]] = {}
        for index, name in enumerate(self.names):
            if index not in self.results:
                found.setdefault(self._phase(index, name), []).append(name)
        failed = self.failures()
        for index in reversed(self.results):
            found.setdefault(Phase.FAILED if index in failed else Phase.DONE, []).append(self.names[index])
        return {phase: found[phase] for phase in Phase if phase in found}

    def failures(self) -> set[int]:
        """The indexes of tables that failed for good."""
        return {index for index, result in self.results.items() if result["state"] not in GOOD_STATES}

    def step(self) -> str:
        """What goes on before the tables begin and after they have ended."""
        if not self.names:
            listing = self.task(LIST_TASK)
            return "listing the tables" if listing and listing["state"] == "running" else "preparing the database"
        return "notifying" if len(self.results) == self.total else ""

    def task(self, task_id: str) -> dict[str, Any] | None:
        """The instance of an unmapped task."""
        return self._instances.get((task_id, -1))

    def instance_of(self, index: int) -> dict[str, Any] | None:
        """The last task that worked on a table."""
        for task in (INIT_TASK, SYNC_TASK):
            instance = self._instances.get((task, index))
            if instance and instance["state"] in ("success", "failed"):
                return instance
        return self._instances.get((SYNC_TASK, index))

    def _phase(self, index: int, name: str) -> Phase:
        states = {(self._instances.get((task, index)) or {}).get("state") for task in (SYNC_TASK, INIT_TASK)}
        if "running" in states:
            return Phase.LOADING
        if "deferred" in states:
            return Phase.AT_DAP if name in self._at_dap else Phase.TURN
        return Phase.RETRY if "up_for_retry" in states else Phase.WORKER

    def _done(self) -> list[int]:
        def ended(task: str, index: int) -> bool:
            instance = self._instances.get((task, index))
            return (instance is None and self.ended) or bool(instance and instance["state"] in FINISHED)

        return [index for index in range(self.total) if ended(SYNC_TASK, index) and ended(INIT_TASK, index)]
