"""A client of a running stack."""

import time
from pathlib import Path
from typing import Any

import psycopg

from local.airflow.api import INIT_TASK, LIST_TASK, SYNC_TASK, AirflowApi
from local.aws import Aws, Notification
from local.databases import REPLICA
from local.errors import LocalStackError
from local.simulator.control import SimulatorControl
from local.stack.folder import Folder


class StackClient:
    """The addresses of a running stack, and what can be done with it."""

    def __init__(self, directory: Path) -> None:
        self.folder = Folder(directory)

    @property
    def ui(self) -> str:
        """Address of Airflow's UI."""
        return f"http://127.0.0.1:{self.folder.port('airflow')}"

    @property
    def simulator_url(self) -> str:
        """Address of the DAP simulator."""
        return f"http://127.0.0.1:{self.folder.port('simulator')}"

    @property
    def replica_dsn(self) -> str:
        """The replica, as the role that the DAG uses."""
        port = self.folder.port("postgres")
        return f"postgresql://{REPLICA}:{self.folder.secret('replica')}@127.0.0.1:{port}/{REPLICA}"

    @property
    def simulator(self) -> SimulatorControl:
        """The control interface of the simulator."""
        return SimulatorControl(self.simulator_url)

    @property
    def aws(self) -> Aws:
        """The AWS services."""
        if not hasattr(self, "_aws"):
            self._aws = Aws(f"http://127.0.0.1:{self.folder.port('aws')}")
        return self._aws

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API."""
        if not hasattr(self, "_api"):
            self._api = AirflowApi(self.ui, self.folder.secret("airflow_admin"))
        return self._api

    def trigger(self, conf: dict[str, Any] | None = None) -> str:
        """Start a run of the DAG; ``conf`` holds its params. Returns the run's id."""
        return self.api.trigger(conf or {})

    def check(self) -> None:
        """Check that the stack still runs.

        :raises LocalStackError: it does not, or a part of it has ended.
        """
        state = self.folder.state()
        if state["status"] != "running":
            raise LocalStackError(state["message"] or "The local stack was stopped.")

    def wait(self, run_id: str, timeout: float = 600.0) -> str:
        """Wait for the end of a run; returns its state, ``success`` or ``failed``.

        :raises LocalStackError: it does not end within ``timeout`` seconds, or the stack breaks down.
        """
        deadline = time.monotonic() + timeout
        while (state := str(self.api.run(run_id)["state"])) not in {"success", "failed"}:
            self.check()
            if time.monotonic() > deadline:
                raise LocalStackError(f"Run {run_id} is still {state} after {timeout:.0f} s.")
            time.sleep(0.5)
        return state

    def names(self, run_id: str) -> list[str]:
        """The tables of a run by map index; empty until they are listed.

        A row of Airflow's grid has its table's name only once a worker has had it.
        """
        return list(self.api.xcom(run_id, LIST_TASK) or [])

    def tables_with_a_job(self) -> set[str]:
        """The tables for which DAP has been asked, and whose job is not loaded yet."""
        with psycopg.connect(self.replica_dsn) as connection:
            try:
                rows = connection.execute("SELECT namespace, table_name FROM cd2.jobs WHERE job_id IS NOT NULL")
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return set()
            return {f"{namespace}.{table}" for namespace, table in rows}

    def results(self, run_id: str) -> list[dict[str, Any]]:
        """The final `TableResult` of every table of a run, in the order of the list.

        It is init's if init ran, otherwise sync's.
        """
        instances = self.api.task_instances(run_id)
        by_task = {
            (instance["task_id"], instance["map_index"]): instance
            for instance in instances
            if instance["map_index"] >= 0 and instance["state"] != "removed"
        }
        indexes = sorted({index for task, index in by_task if task in (SYNC_TASK, INIT_TASK)})
        return [self.table_result(run_id, index, by_task) for index in indexes]

    def table_result(self, run_id: str, index: int, instances: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
        """The result of the table with this map index; made from the task's state if it left none (it was killed)."""
        init, sync = instances.get((INIT_TASK, index)), instances.get((SYNC_TASK, index))
        ran = [instance for instance in (init, sync) if instance and instance["state"] in ("success", "failed")]
        for instance in ran:
            result: dict[str, Any] | None = self.api.xcom(run_id, instance["task_id"], index)
            if result:
                return result
        last = ran[0] if ran else (sync or init or {})
        names = self.names(run_id)
        name = names[index] if index < len(names) else f"?.{index}"
        namespace, _, table = name.rpartition(".")
        message = f"Task {last.get('task_id')} ended as {last.get('state')} without a result."
        return {
            "namespace": namespace, "table": table, "action": "sync", "state": "failed", "rows_upserted": 0,
            "rows_deleted": 0, "bytes_downloaded": 0, "since": None, "data_as_of": None, "schema_version": None,
            "duration_s": 0.0, "job_id": None, "dependents": {"restored": [], "broken": []},
            "error": {"class": "NoResult", "message": message, "type": None, "uuid": None},
        }  # fmt: skip

    def notifications(self) -> list[Notification]:
        """Take the notifications that arrived since the last call."""
        return self.aws.notifications()
