"""The progress of a run, polled cheaply: only what has changed is fetched."""

from datetime import UTC, datetime, timedelta
from typing import Any

from local.airflow.api import FINISHED, INIT_TASK, SYNC_TASK
from local.stack.client import StackClient

OVERLAP = timedelta(seconds=5)
RESULTS_AT_ONCE = 25
GOOD_STATES = {"complete", "complete_with_schema_update", "initialized"}


class Progress:
    """Tables of a run: how many there are, are done, have failed; rows so far; which are in progress."""

    def __init__(self, stack: StackClient, run_id: str) -> None:
        self._stack, self.run_id = stack, run_id
        self._instances: dict[tuple[str, int], dict[str, Any]] = {}
        self._asked_at: datetime | None = None
        self.results: dict[int, dict[str, Any]] = {}
        self.state = "queued"

    def refresh(self) -> None:
        """Fetch what has changed from Airflow."""
        now = datetime.now(UTC)
        self.state = self._stack.api.run(self.run_id)["state"]
        since = (self._asked_at - OVERLAP).isoformat() if self._asked_at and not self.ended else None
        if since is None:
            self._instances.clear()
        for instance in self._stack.api.task_instances(self.run_id, since):
            self._instances[instance["task_id"], instance["map_index"]] = instance
        self._asked_at = now
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
        return len(self._tables())

    @property
    def failed(self) -> int:
        """Tables that failed for good."""
        return sum(result["state"] not in GOOD_STATES for result in self.results.values())

    @property
    def rows(self) -> int:
        """Rows written and deleted so far."""
        return sum(result["rows_upserted"] + result["rows_deleted"] for result in self.results.values())

    def working(self) -> list[str]:
        """What is in progress: tables by name, or the task before or after them."""
        return self._named({"running", "deferred"})

    def retrying(self) -> list[str]:
        """Tables whose last try failed and that will be retried."""
        return self._named({"up_for_retry"})

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

    def _named(self, states: set[str]) -> list[str]:
        return sorted(
            self._name(task, index, instance)
            for (task, index), instance in self._instances.items()
            if instance["state"] in states
        )

    def _name(self, task: str, index: int, instance: dict[str, Any]) -> str:
        label = instance.get("rendered_map_index")
        # a task that is starting only has its index; the sync of the same table knows the name
        if index >= 0 and (not label or label.isdecimal()):
            label = (self._instances.get((SYNC_TASK, index)) or {}).get("rendered_map_index")
            if not label or label.isdecimal():
                label = f"table {index + 1}"
        return label or task.rsplit(".", 1)[-1]

    def _tables(self) -> set[int]:
        return {
            index
            for (task, index), instance in self._instances.items()
            if task in (SYNC_TASK, INIT_TASK) and index >= 0 and instance["state"] != "removed"
        }

    def _done(self) -> list[int]:
        def ended(task: str, index: int) -> bool:
            instance = self._instances.get((task, index))
            return (instance is None and self.ended) or bool(instance and instance["state"] in FINISHED)

        return [index for index in sorted(self._tables()) if ended(SYNC_TASK, index) and ended(INIT_TASK, index)]
