"""An Airflow that answers what a test says, in front of the real files of the page; the browser never leaves it."""

from __future__ import annotations

import json
import mimetypes
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from playwright.sync_api import Page, Request, Route

from cd2.notification.status import status_of
from cd2.notification.summary import RunSummary
from cd2.page.app import HEADERS, STATIC, URL_PREFIX
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import Freshness, TableResult

ORIGIN = "http://airflow.test"
NOW = datetime.now(UTC).replace(microsecond=0)
REASON = "canvas.users: objects that only you can drop block the change: DROP PUBLICATION reports"
ANSWER = dict[str, Any]
SYNC, INIT = "process_table.sync_table", "process_table.init_table"


def run(run_id: str, state: str, hours_ago: float, conf: ANSWER | None = None) -> ANSWER:
    """A run as the REST API describes it; one that has ended took twenty minutes."""
    began = NOW - timedelta(hours=hours_ago)
    ended = began + timedelta(minutes=20) if state in ("success", "failed") else None
    times = {"run_after": began, "start_date": began, "end_date": ended}
    return {"dag_run_id": run_id, "state": state, "conf": conf or {}} | {
        name: moment.isoformat() if moment else None for name, moment in times.items()
    }


def instance(run_id: str, task_id: str, state: str | None, index: int = -1, name: str | None = None) -> ANSWER:
    """A task instance as the REST API describes it."""
    return {"dag_run_id": run_id, "task_id": task_id, "map_index": index, "state": state, "try_number": 1} | {
        "rendered_map_index": name
    }


def result(name: str, state: Any = "complete", **more: Any) -> TableResult:
    """A table's result in the run."""
    error = ErrorInfo("E", REASON) if state == "failed" else None
    as_of = (NOW - timedelta(hours=1)).isoformat()
    values: ANSWER = {"data_as_of": as_of, "schema_version": 3, "error": error} | more
    return TableResult(TableName.parse(name), "sync", state, **values)


def status(*results: TableResult, minutes_ago: float = 12, others: tuple[str, ...] = ()) -> ANSWER:
    """What `notify` leaves after a run with these results.

    :param others: tables of `cd2.freshness` that the run did not list.
    """
    at = NOW - timedelta(minutes=minutes_ago)
    fresh = {one.table: Freshness(at, at if one.state == "failed" else None) for one in results}
    fresh |= {TableName.parse(name): Freshness(at, None, at) for name in others}
    return status_of(RunSummary("dev", "r", at, at, results, freshness=fresh), {})


@dataclass
class Airflow:
    """The answers, and what was asked.

    :param path: below which Airflow stands.
    :param statuses: the XCom `status` of runs, by run id.
    :param instances: task instances of runs, by run id.
    :param xcoms: other XComs, by (run id, task id, key).
    :param logs: events of logs, by (task id, map index).
    :param refuses: HTTP status and detail by method; 0: no answer at all.
    """

    path: str = ""
    dag: ANSWER = field(default_factory=dict)
    runs: list[ANSWER] = field(default_factory=list)
    statuses: dict[str, ANSWER] = field(default_factory=dict)
    instances: dict[str, list[ANSWER]] = field(default_factory=dict)
    xcoms: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    logs: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    posted: list[tuple[str, ANSWER]] = field(default_factory=list)

    def open(self, tab: Page, query: str = "") -> Page:
        """Show the page in a tab, whose clock stands at NOW: "12 minutes ago" stays true on a slow machine."""
        tab.clock.set_fixed_time(NOW)
        tab.route("**/*", self._answer)
        tab.goto(f"{ORIGIN}{self.path}{URL_PREFIX}/{query}")
        return tab

    def _answer(self, route: Route, request: Request) -> None:
        url = urlsplit(request.url)
        path = unquote(url.path)
        if path.startswith(f"{self.path}{URL_PREFIX}/"):
            file = STATIC / (path.removeprefix(f"{self.path}{URL_PREFIX}/") or "index.html")
            kind = mimetypes.guess_type(file.name)[0] or ""
            route.fulfill(body=file.read_bytes(), headers=HEADERS | {"content-type": kind})
        elif path.startswith(f"{self.path}/api/v2/"):
            self._answer_api(route, request, path.removeprefix(f"{self.path}/api/v2"), parse_qs(url.query))
        else:
            route.fulfill(status=200, content_type="text/html", body=f"<title>Airflow: {path}</title>")

    def _answer_api(self, route: Route, request: Request, path: str, query: dict[str, list[str]]) -> None:
        self.asked.append(path)
        if request.method in self.refuses:
            code, detail = self.refuses[request.method]
            if code == 0:
                route.abort()
            else:
                route.fulfill(status=code, json={"detail": detail})
        elif request.method == "POST":
            self.posted.append((path, json.loads(request.post_data or "{}")))
            route.fulfill(json={"dag_run_id": "manual__new"})
        else:
            found = self._get(path.removeprefix("/dags/canvas_data_2"), query)
            route.fulfill(json=found) if found is not None else route.fulfill(status=404, json={"detail": "not found"})

    def _get(self, path: str, query: dict[str, list[str]]) -> ANSWER | None:
        if path == "/details":
            next_run = (NOW + timedelta(hours=2)).isoformat()
            described = {"full_refresh": {"value": False, "description": "DAP may refuse repeated snapshots."}}
            return {"is_paused": False, "next_dagrun_run_after": next_run, "params": described} | self.dag
        if path == "/dagRuns":
            return {"dag_runs": self.runs, "total_entries": len(self.runs)}
        if found := re.fullmatch(r"/dagRuns/([^/]+)/taskInstances", path):
            return self._page_of_instances(found[1], query)
        if found := re.fullmatch(r"/dagRuns/([^/]+)/taskInstances/([^/]+)/xcomEntries/([^/]+)", path):
            run_id, task_id, key = found.groups()
            value = self.statuses.get(run_id) if key == "status" else self.xcoms.get((run_id, task_id, key))
            return None if value is None else {"value": value}
        if found := re.fullmatch(r"/dagRuns/[^/]+/taskInstances/([^/]+)/logs/\d+", path):
            events = self.logs.get((found[1], int(query["map_index"][0])), [])
            return {"content": [{"event": event, "timestamp": NOW.isoformat()} for event in events]}
        return None

    def _page_of_instances(self, run_id: str, query: dict[str, list[str]]) -> ANSWER:
        kept = [ti for ti in self.instances.get(run_id, []) if ti["state"] in query.get("state", [ti["state"]])]
        offset, limit = int(query["offset"][0]), min(100, int(query["limit"][0]))
        return {"task_instances": kept[offset : offset + limit], "total_entries": len(kept)}


def three_tables() -> Airflow:
    """After a good run of three tables."""
    tables = status(
        result("canvas.accounts", rows_upserted=5, rows_deleted=2), result("canvas.users"), result("catalog.carts")
    )
    return Airflow(runs=[run("r2", "success", 0.5), run("r1", "success", 3.5)], statuses={"r2": tables, "r1": tables})


def failed_table() -> Airflow:
    """After a run of two tables, of which one failed."""
    airflow = Airflow(runs=[run("r2", "failed", 0.5)])
    airflow.statuses["r2"] = status(result("canvas.accounts"), result("canvas.users", "failed"))
    airflow.instances["r2"] = [instance("r2", SYNC, "failed", 1, "canvas.users"), instance("r2", "notify", "failed")]
    return airflow


def names(tab: Page) -> list[str]:
    """The tables in the order in which they are shown."""
    rows: list[str] = tab.locator(".tables tr[data-table]").evaluate_all("rows => rows.map(row => row.dataset.table)")
    return rows
