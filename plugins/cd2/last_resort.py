"""What tells of a run when `notify` cannot: called by Airflow, outside of any task.

Of a failed run in the dag processor, of one that takes too long in the triggerer.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseXCom

from cd2.notification import Message
from cd2.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

LATE_AFTER = timedelta(hours=6)
"""Two runs have been missed by then."""
TOLD = "told"
"""XCom of notify: its message is published. Airflow clears it when notify starts again."""


def tell_of_failed_run(context: Context) -> None:
    """Publish a short message, unless `notify` has published the full one (which fails on purpose afterwards, to make
    the run red)."""
    run_id: str = context.get("run_id") or context["dag_run"].run_id
    if _told(context["dag"].dag_id, run_id):
        return
    settings = Settings.load_usable()
    reason = str(context.get("reason") or "unknown")
    subject = f"[FAILURE] Canvas Data 2 {settings.environment}: the run ended before it could report"
    body = (
        f"The run {run_id} of Canvas Data 2 failed ({reason}), and its task notify could not tell how the tables are.\n"
        "Open the run in Airflow: the grid shows every table. Clear what failed together with notify when the cause is "
        "gone.\n"
    )
    _tell(settings, Message(subject[:100], body, {"environment": settings.environment, "status": "failure"}))


async def tell_of_late_run(context: dict[str, Any]) -> None:
    """Publish that a scheduled run is still going on `LATE_AFTER` its time: the next ones wait for it.

    :param context: of Airflow's deadline alert: the run as the REST API describes it.
    """
    run = context["dag_run"]
    if run["state"] not in ("queued", "running"):
        return  # Airflow keeps the deadline of a run that has failed meanwhile
    settings = Settings.load_usable()
    hours = LATE_AFTER // timedelta(hours=1)
    subject = f"[WARNING] Canvas Data 2 {settings.environment}: a run is still going on after {hours} h"
    body = (
        f"The run {run['dag_run_id']} of Canvas Data 2 was due at {run['logical_date']} and has not ended; the next "
        "one waits for it.\n"
        "That may be right while large tables are loaded for the first time. Open the run in Airflow: the grid shows "
        "which tables are running or waiting (deferred), and their logs say for what.\n"
    )
    message = Message(subject[:100], body, {"environment": settings.environment, "status": "warning"})
    await asyncio.to_thread(_tell, settings, message)


def _tell(settings: Settings, message: Message) -> None:
    log.error("%s\n\n%s", message.subject, message.body)
    if settings.sns_topic_arn:
        from cd2.hooks import publish

        log.error("Published as %s.", publish(settings, message))


def _told(dag_id: str, run_id: str) -> bool:
    try:
        told = BaseXCom.get_one(key=TOLD, dag_id=dag_id, task_id="notify", run_id=run_id)
    except Exception:
        log.exception("Whether notify has published could not be found out: better twice than never.")
        return False
    return told is not None
