"""What the tasks of a run left behind (states, XComs, freshness) -> the `RunSummary` that `notify` reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseXCom

from cd2.notification.summary import RunSummary
from cd2.replication.errors import Cd2Error, ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import Freshness, TableResult

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from cd2.replication.replicator import Replicator
    from cd2.settings import Settings

log = logging.getLogger(__name__)

RESULT = "return_value"
ERROR = "error"
DRY_RUN = "dry_run"
RETRIED = "retried"
"""Keys of XComs."""
RAN = ("success", "failed")
"""States of a task that ran. A skipped init may still have the XCom of an earlier try."""


@dataclass(frozen=True)
class RunTasks:
    """Ids of the tasks to report."""

    prepare: str
    listing: str
    sync: str
    init: str


@dataclass(frozen=True)
class TableTasks:
    """The two tasks of a table: their states (None: no such task instance), and their results, if any."""

    sync_state: str | None
    init_state: str | None
    synced: TableResult | None
    initialized: TableResult | None


def collect(
    context: Context,
    settings: Settings,
    tasks: RunTasks,
    published: dict[str, Any],
    make_replicator: Callable[[], Replicator],
) -> RunSummary:
    """The run so far: every listed table exactly once.

    :param published: what `notify` noted when it last reported this run; empty: it has not reported it yet.
    :param make_replicator: reads how fresh the tables are, if one has failed.
    """
    ti = context["ti"]
    run_id = ti.run_id
    task_ids = [tasks.prepare, tasks.listing, tasks.sync, tasks.init]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id], task_ids=task_ids).get(run_id, {})
    run_url = ti.log_url.split("/tasks/")[0]
    problems: dict[str, str] = {}
    links: dict[str, str] = {}
    for task_id in (tasks.prepare, tasks.listing):
        if states.get(task_id) == "failed":
            reason = ti.xcom_pull(task_ids=task_id, key=ERROR)
            problems[task_id] = reason or "It ended before it could report why; its log may say more."
            links[task_id] = f"{run_url}/tasks/{task_id}"
    results = _results(ti, tasks, states, links, run_url) if states.get(tasks.listing) == "success" else []
    dry_run = ti.xcom_pull(task_ids=tasks.listing, key=DRY_RUN)
    summary = RunSummary(
        environment=settings.environment,
        run_id=run_id,
        started=context["dag_run"].start_date or datetime.now(UTC),
        finished=datetime.now(UTC),
        results=tuple(results),
        problems=problems,
        log_links=links,
        listed_only=tuple(dry_run) if dry_run is not None else None,
        rerun=bool(published) and published["max_tries"] != ti.max_tries,
        freshness=_freshness(make_replicator) if any(result.state == "failed" for result in results) else {},
    )
    # A dry run, or a run without tables, does not prove that all is well.
    fine = bool(results) and summary.status != "failure"
    return replace(summary, recovered=fine and _has_recovered(ti, published))


def table_result(table: TableName, tasks: TableTasks) -> TableResult:
    """The one result of a listed table; unless its tasks prove that all is well, it has failed."""
    if tasks.sync_state != "success":
        return _failure(table, tasks.sync_state, tasks.synced, "sync_table")
    if tasks.synced is None:
        return _without_result(table, "sync_table ended without a result: clear it to run it again.")
    if tasks.synced.state != "needs_init":
        return tasks.synced
    if tasks.init_state == "success" and tasks.initialized is not None:
        return tasks.initialized
    if tasks.init_state in RAN:
        return _failure(table, tasks.init_state, tasks.initialized, "init_table")
    return _without_result(
        table,
        f"The table needs an init, but init_table did not run (it is {tasks.init_state or 'missing'}): clear "
        "sync_table together with its downstream tasks.",
    )


def results_by_table(values: Iterable[Mapping[str, object]]) -> dict[TableName, TableResult]:
    """XComs of mapped tasks by table.

    :param values: in the order of their map indexes. If a clear has shortened the list, removed ones come last, with
        results from before the clear: the first result of a table counts.
    """
    by_table: dict[TableName, TableResult] = {}
    for value in values:
        result = TableResult.from_json(value)
        by_table.setdefault(result.table, result)
    return by_table


def _failure(table: TableName, state: str | None, result: TableResult | None, task: str) -> TableResult:
    if result is not None and result.state == "failed":
        return result
    return _without_result(
        table,
        f"{task} ended as {state or 'never started'} before it could report why: its process was killed, ran out of "
        "memory or time, or somebody set its state. Its log may say more; clear it to run it again.",
    )


def _without_result(table: TableName, message: str) -> TableResult:
    return TableResult(table, "sync", "failed", error=ErrorInfo("NoResult", message))


def _results(
    ti: RuntimeTaskInstanceProtocol, tasks: RunTasks, states: dict[str, Any], links: dict[str, str], run_url: str
) -> list[TableResult]:
    """The results of all tables, by name; also adds the log that explains each table to `links`."""
    names: list[str] = ti.xcom_pull(task_ids=tasks.listing, key=RESULT) or []
    synced, initialized = (
        results_by_table(BaseXCom.get_all(key=RESULT, dag_id=ti.dag_id, task_id=task_id, run_id=ti.run_id) or [])
        for task_id in (tasks.sync, tasks.init)
    )
    results = []
    for index, name in enumerate(names):
        table = TableName.parse(name)
        left = TableTasks(
            states.get(f"{tasks.sync}_{index}"),
            states.get(f"{tasks.init}_{index}"),
            synced.get(table),
            initialized.get(table),
        )
        results.append(table_result(table, left))
        decisive = tasks.sync if left.sync_state != "success" else tasks.init
        links[name] = f"{run_url}/tasks/{decisive}/mapped/{index}"
    return sorted(results, key=lambda result: result.table)


def _freshness(make_replicator: Callable[[], Replicator]) -> dict[TableName, Freshness]:
    """The freshness of the tables; empty if it cannot be read: the database may be what failed."""
    try:
        return asyncio.run(make_replicator().freshness())
    except Cd2Error as error:
        log.warning("The freshness of the tables is unknown: %s", error)
        return {}


def _has_recovered(ti: RuntimeTaskInstanceProtocol, published: dict[str, Any]) -> bool:
    """Whether the last message (about this run before a clear, or about the previous run) reported a failure."""
    if published:
        return bool(published["status"] == "failure")
    previous = ti.get_previous_dagrun()
    return previous is not None and previous.state == "failed"
