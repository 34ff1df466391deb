"""Fetches what the tasks of a run left behind (states, XComs, freshness); `cd2.summary` decides what it means."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseXCom

from cd2.errors import Cd2Error
from cd2.results import Freshness, RunSummary, TableResult
from cd2.settings import Settings, SettingsError
from cd2.summary import TableTasks, results_by_name, table_result

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

log = logging.getLogger(__name__)

RESULT = "return_value"
ERROR = "error"
DRY_RUN = "dry_run"


@dataclass(frozen=True)
class RunTasks:
    """Ids of the tasks to account for."""

    prepare: str
    listing: str
    sync: str
    init: str


def collect(context: Context, settings: Settings, tasks: RunTasks, published: dict[str, Any]) -> RunSummary:
    """The run so far: every listed table exactly once.

    :param published: what notify noted when it last told of this run; empty: never.
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
        freshness=_freshness() if any(result.state == "failed" for result in results) else {},
    )
    # A dry run, or one without a table, shows nothing of how the tables are.
    fine = bool(results) and summary.status != "failure"
    return replace(summary, recovered=fine and _has_recovered(ti, published))


def _results(
    ti: RuntimeTaskInstanceProtocol, tasks: RunTasks, states: dict[str, Any], links: dict[str, str], run_url: str
) -> list[TableResult]:
    """Adds the log that explains each table to `links`."""
    names: list[str] = ti.xcom_pull(task_ids=tasks.listing, key=RESULT) or []
    synced, initialised = (
        results_by_name(BaseXCom.get_all(key=RESULT, dag_id=ti.dag_id, task_id=task_id, run_id=ti.run_id) or [])
        for task_id in (tasks.sync, tasks.init)
    )
    results = []
    for index, name in enumerate(names):
        table = TableTasks(
            states.get(f"{tasks.sync}_{index}"),
            states.get(f"{tasks.init}_{index}"),
            synced.get(name),
            initialised.get(name),
        )
        results.append(table_result(name, table))
        guilty = tasks.sync if table.sync_state != "success" else tasks.init
        links[name] = f"{run_url}/tasks/{guilty}/mapped/{index}"
    return results


def _freshness() -> dict[str, Freshness]:
    """Nothing if it cannot be read: what failed may be the database."""
    from cd2.hooks import replicator

    try:
        return asyncio.run(replicator(Settings.load()).freshness())
    except (Cd2Error, SettingsError) as error:
        log.warning("How fresh the tables are is not known: %s", error)
        return {}


def _has_recovered(ti: RuntimeTaskInstanceProtocol, published: dict[str, Any]) -> bool:
    """Whether the last message, of this run before a clear or of the run before, told of a failure."""
    if published:
        return bool(published["status"] == "failure")
    previous = ti.get_previous_dagrun()
    return previous is not None and previous.state == "failed"
