"""What the tasks of a run left behind (states, XComs, freshness) -> the `RunSummary` that `notify` reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseXCom

from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import TableResult, Unlisted
from cd2.tasks.links import page_url, run_url
from cd2.tasks.reporting.replica import Questions, from_database

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from cd2.replication.replicator import Replicator
    from cd2.settings import Settings

RESULT = "return_value"
ERROR = "error"
DRY_RUN = "dry_run"
RETRIED = "retried"
UNLISTED = "unlisted"
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
    :param make_replicator: reads how fresh the tables are, and how much they change.
    """
    ti = context["ti"]
    run_id = ti.run_id
    task_ids = [tasks.prepare, tasks.listing, tasks.sync, tasks.init]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id], task_ids=task_ids).get(run_id, {})
    url = run_url(ti.dag_id, run_id)
    problems: dict[str, str] = {}
    links: dict[str, str] = {}
    for task_id in (tasks.prepare, tasks.listing):
        if states.get(task_id) == "failed":
            reason = ti.xcom_pull(task_ids=task_id, key=ERROR)
            problems[task_id] = reason or "It ended before it could report why; its log may say more."
            links[task_id] = f"{url}/tasks/{task_id}"
    results = _results(ti, tasks, states, links, url) if states.get(tasks.listing) == "success" else []
    dry_run = ti.xcom_pull(task_ids=tasks.listing, key=DRY_RUN)
    judges = bool(results) and settings.volume_alerts == "on"
    # A re-run counts as another one: what was told before is not told again.
    questions = Questions(run_id if judges else None, f"{run_id} {ti.max_tries}", _broken(results))
    fresh, odd, broken = from_database(make_replicator, questions)
    rerun = bool(published) and published["max_tries"] != ti.max_tries
    params = context["params"]
    summary = RunSummary(
        environment=settings.environment,
        run_id=run_id,
        started=context["dag_run"].start_date or datetime.now(UTC),
        finished=datetime.now(UTC),
        results=tuple(results),
        problems=problems,
        log_links=links,
        listed_only=tuple(dry_run) if dry_run is not None else None,
        unlisted=_unlisted(ti, tasks),
        rerun=rerun,
        freshness=fresh,
        odd_volumes=odd,
        high_severity_tables=settings.high_severity_tables,
        partial=bool(params.get("tables") or params.get("namespaces")),
        run_url=url,
        page_url=page_url(),
        broken_due=broken,
        worked_on=worked_on(results, published) if rerun else None,
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


def fingerprints(results: Iterable[TableResult]) -> dict[str, str]:
    """What `notify` keeps of the results that it has reported, to recognize those of a re-run."""
    return {
        str(result.table): hashlib.blake2s(json.dumps(result.to_json()).encode(), digest_size=6).hexdigest()
        for result in results
    }


def worked_on(results: Iterable[TableResult], published: Mapping[str, Any]) -> frozenset[TableName] | None:
    """The tables whose result is another than the one that was reported before; None: that is not known."""
    before = published.get("results")
    if before is None:
        return None
    results = tuple(results)
    now = fingerprints(results)
    return frozenset(result.table for result in results if before.get(str(result.table)) != now[str(result.table)])


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
    ti: RuntimeTaskInstanceProtocol, tasks: RunTasks, states: dict[str, Any], links: dict[str, str], url: str
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
        links[name] = f"{url}/tasks/{decisive}/mapped/{index}"
    return sorted(results, key=lambda result: result.table)


def _unlisted(ti: RuntimeTaskInstanceProtocol, tasks: RunTasks) -> tuple[Unlisted, ...]:
    found: list[dict[str, str]] = ti.xcom_pull(task_ids=tasks.listing, key=UNLISTED) or []
    return tuple(map(Unlisted.from_json, found))


def _broken(results: Iterable[TableResult]) -> tuple[str, ...]:
    return tuple(name for result in results for name in result.dependents.broken)


def _has_recovered(ti: RuntimeTaskInstanceProtocol, published: dict[str, Any]) -> bool:
    """Whether the last message (about this run before a clear, or about the previous run) reported a failure."""
    if published:
        return bool(published["status"] == "failure")
    previous = ti.get_previous_dagrun()
    return previous is not None and previous.state == "failed"
