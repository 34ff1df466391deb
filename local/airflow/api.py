"""A client of Airflow's public REST API: what the runner and the tests need of it."""

import time
from datetime import datetime
from typing import Any

import requests

from local.errors import LocalStackError

DAG_ID = "canvas_data_2"
LIST_TASK = "list_tables"
SYNC_TASK = "process_table.sync_table"
INIT_TASK = "process_table.init_table"
FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
PAGE = 1000


class AirflowRefused(LocalStackError):
    """Airflow answered a request with an error.

    :param status: of its HTTP answer.
    """

    def __init__(self, request: str, status: int, detail: str) -> None:
        super().__init__(f"Airflow refused {request}: {status} {detail}")
        self.status = status


class AirflowApi:
    """Airflow at ``base_url``, as user ``admin``.

    :raises LocalStackError: by every method: no answer, or a request that Airflow refuses.
    """

    def __init__(self, base_url: str, password: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._password = password
        self._session = requests.Session()
        self._session.trust_env = False
        self._log_in_again_at = 0.0

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call `/api/v2{path}`; returns the answer's JSON."""
        self._log_in()
        try:
            response = self._session.request(method, f"{self.base_url}/api/v2{path}", timeout=60, **options)
        except requests.RequestException as error:
            raise LocalStackError(f"Airflow at {self.base_url} does not answer ({type(error).__name__}).") from None
        if not response.ok:
            raise AirflowRefused(f"{method} {path}", response.status_code, _detail(response))
        return response.json() if response.content else None

    def _log_in(self) -> None:
        if time.monotonic() < self._log_in_again_at:
            return
        try:
            response = self._session.post(
                f"{self.base_url}/auth/token", json={"username": "admin", "password": self._password}, timeout=60
            )
        except requests.RequestException as error:
            raise LocalStackError(f"Airflow at {self.base_url} does not answer ({type(error).__name__}).") from None
        if not response.ok:
            raise AirflowRefused("the log-in", response.status_code, _detail(response))
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        self._log_in_again_at = time.monotonic() + 3600

    def warm_up(self) -> None:
        """Have the API server build what it builds for the first call of a task: seconds that a run would wait for."""
        try:
            self._session.get(f"{self.base_url}/execution/health", timeout=60)
        except requests.RequestException as error:
            raise LocalStackError(f"Airflow at {self.base_url} does not answer ({type(error).__name__}).") from None

    # -- what there is ---------------------------------------------------------------------------

    def health(self) -> dict[str, dict[str, Any]]:
        """Component (metadatabase, scheduler, triggerer, dag_processor) -> its status and latest heartbeat."""
        health: dict[str, dict[str, Any]] = self.call("GET", "/monitor/health")
        return health

    def beating_triggerers(self, since: datetime) -> int:
        """How many triggerers have sent a heartbeat since a time."""
        jobs = self.call("GET", "/jobs", params={"job_type": "TriggererJob", "is_alive": "true"})["jobs"]
        beats = [datetime.fromisoformat(job["latest_heartbeat"]) for job in jobs if job["latest_heartbeat"]]
        return sum(beat >= since for beat in beats)

    def dag(self) -> dict[str, Any] | None:
        """The DAG, if it was parsed."""
        found = self.call("GET", "/dags", params={"dag_id_pattern": DAG_ID})["dags"]
        return next((dag for dag in found if dag["dag_id"] == DAG_ID), None)

    def import_errors(self) -> list[str]:
        """The stack traces of DAG files that cannot be parsed."""
        return [error["stack_trace"] for error in self.call("GET", "/importErrors")["import_errors"]]

    # -- runs ------------------------------------------------------------------------------------

    def trigger(self, conf: dict[str, Any]) -> str:
        """Start a run; returns its id."""
        answer = self.call("POST", f"/dags/{DAG_ID}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(answer["dag_run_id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """A run: `state`, `start_date`, `end_date`, ..."""
        run: dict[str, Any] = self.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")
        return run

    def unfinished_runs(self) -> list[str]:
        """Ids of queued and running runs."""
        answer = self.call("GET", f"/dags/{DAG_ID}/dagRuns", params={"state": ["queued", "running"], "limit": 100})
        return [run["dag_run_id"] for run in answer["dag_runs"]]

    def fail_run(self, run_id: str) -> None:
        """Mark a run, and what of it is not finished, as failed."""
        self.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", json={"state": "failed"})

    def task_instances(self, run_id: str, changed_since: str | None = None) -> list[dict[str, Any]]:
        """Task instances of a run (mapped ones each), all or those that changed since a time (ISO 8601)."""
        found: list[dict[str, Any]] = []
        while True:
            params: dict[str, Any] = {"limit": PAGE, "offset": len(found)}
            if changed_since:
                params["updated_at_gte"] = changed_since
            answer = self.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", params=params)
            found += answer["task_instances"]
            if not answer["task_instances"] or len(found) >= answer["total_entries"]:
                return found

    def xcom(self, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """A value that a task handed on; None if there is none."""
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        try:
            return self.call("GET", path, params={"map_index": map_index, "deserialize": "true"})["value"]
        except AirflowRefused as error:
            if error.status == 404:
                return None
            raise

    def log(self, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> str:
        """What a try of a task logged, one event a line."""
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.call("GET", path, params={"map_index": map_index}, headers={"Accept": "application/json"})
        return "\n".join(
            str(event.get("event", event)) if isinstance(event, dict) else str(event) for event in answer["content"]
        )

    def links(self, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str]:
        """The buttons of a task instance: name -> address."""
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/links"
        return dict(self.call("GET", path, params={"map_index": map_index})["extra_links"])

    def clear(self, body: dict[str, Any]) -> None:
        """Clear task instances (`POST clearTaskInstances`); ``body`` as Airflow documents it."""
        self.call("POST", f"/dags/{DAG_ID}/clearTaskInstances", json={"dry_run": False} | body)


def _detail(response: requests.Response) -> str:
    try:
        return str(response.json().get("detail", response.text))[:500]
    except ValueError:
        return response.text[:500]
