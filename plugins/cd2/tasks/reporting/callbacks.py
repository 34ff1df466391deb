"""Reports a run when `notify` cannot, and a try's failure at the end of its log: functions that Airflow calls.

The DAG processor reports a failed run, the triggerer a run that takes too long, a task's process its own failure.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseXCom

from cd2.notification.message import Message
from cd2.settings import Settings
from cd2.tasks.credentials import make_replicator
from cd2.tasks.links import page_url, run_url

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

LATE_AFTER = timedelta(hours=6)
"""By then two runs have been missed."""
REPORTED = "reported"
"""XCom of `notify`: it has published its message. Airflow deletes it when `notify` starts again."""
DEADLOCK = "all_tasks_deadlocked"
"""Airflow's reason for a run that it ends although tasks have not ended."""
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
"""States of a task that does not run again by itself."""


def log_reason(context: Context) -> None:
    """Log why a try failed as the last line of its log, below Airflow's traceback."""
    if reason := context.get("exception"):
        # Airflow's page folds what is logged after the traceback into a group; the sentence is to be seen.
        log.info("::endgroup::")
        log.error("%s", reason)


def report_failed_run(context: Context, notify_task_id: str) -> None:
    """Publish a short message, unless `notify` has published the full one.

    (After publishing, `notify` fails on purpose, so that the run is red.)
    """
    run_id: str = context.get("run_id") or context["dag_run"].run_id
    dag_id = context["dag"].dag_id
    if context.get("reason") != DEADLOCK and _goes_on(context, run_id, notify_task_id):
        log.info("%s has been cleared since it failed: %s will report it when it ends.", run_id, notify_task_id)
        return
    if _is_reported(dag_id, run_id, notify_task_id):
        return
    settings = Settings.load_usable()
    reason = str(context.get("reason") or "unknown")
    subject = f"[FAILURE] Canvas Data 2 {settings.environment}: the run ended before it could report"
    body = (
        f"The run {run_id} of Canvas Data 2 failed ({reason}), and its task {notify_task_id} could not report the "
        "tables.\n"
        "Open the run in Airflow: the grid shows every table. The next run goes on where this one ended. If you clear "
        "this one instead, clear all its tasks: Airflow counts those that had not ended as skipped, not as failed.\n\n"
        f"This run: {run_url(dag_id, run_id)}\nAll tables (page Canvas Data): {page_url()}\n"
    )
    attributes = {"environment": settings.environment, "status": "failure", "severity": "high"}
    _report(settings, Message(subject[:100], body, attributes))


async def report_late_run(context: dict[str, Any]) -> None:
    """Report that a scheduled run is still running `LATE_AFTER` it was due: the next runs wait for it.

    :param context: of Airflow's deadline alert; it holds the run as the REST API describes it.
    """
    run = context["dag_run"]
    if run["state"] not in ("queued", "running"):
        return  # Airflow keeps the deadline of a run that has failed in the meantime
    settings = Settings.load_usable()
    hours = LATE_AFTER // timedelta(hours=1)
    subject = f"[WARNING] Canvas Data 2 {settings.environment}: a run is still running after {hours} h"
    body = (
        f"The run {run['dag_run_id']} of Canvas Data 2 was due at {run['logical_date']} and has not ended; the next "
        "one waits for it.\n"
        "This is normal while large tables are loaded for the first time. Open the run in Airflow: the grid shows "
        "which tables are running or waiting (deferred), and their logs say what for.\n\n"
        f"This run: {run_url(run['dag_id'], run['dag_run_id'])}\nAll tables (page Canvas Data): {page_url()}\n"
    )
    attributes = {"environment": settings.environment, "status": "warning", "severity": "warning"}
    message = Message(subject[:100], body, attributes)
    if await _is_first(f"{run['dag_id']} {run['dag_run_id']}"):
        await asyncio.to_thread(_report, settings, message)


async def _is_first(run: str) -> bool:
    """Whether no other triggerer has reported the run: Airflow 3.3.1 runs a deadline's callback in each of them."""
    try:
        replicator = await asyncio.to_thread(make_replicator)
        return await replicator.claim_late_report(run)
    except Exception:
        log.exception(
            "Could not find out whether %s has been reported; reporting, because twice is better than never.", run
        )
        return True


def _report(settings: Settings, message: Message) -> None:
    log.error("%s\n\n%s", message.subject, message.body)
    if settings.sns_topic_arn:
        from cd2.notification.sns import publish

        log.error("Published as %s.", publish(settings, message))


def _is_reported(dag_id: str, run_id: str, notify_task_id: str) -> bool:
    try:
        reported = BaseXCom.get_one(key=REPORTED, dag_id=dag_id, task_id=notify_task_id, run_id=run_id)
    except Exception:
        log.exception(
            "Could not find out whether %s has published; publishing, because twice is better than never.",
            notify_task_id,
        )
        return False
    return reported is not None


def _goes_on(context: Context, run_id: str, notify_task_id: str) -> bool:
    """Whether `notify` is still to end: Airflow may call so late that somebody has cleared the run."""
    try:
        dag_id = context["dag"].dag_id
        states = context["ti"].get_task_states(dag_id, task_ids=[notify_task_id], run_ids=[run_id])
        return states[run_id].get(notify_task_id) not in ENDED
    except Exception:
        log.exception(
            "Could not find out whether %s goes on; publishing, because twice is better than never.", notify_task_id
        )
        return False
