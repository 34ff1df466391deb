"""What tells of a failed run when `notify` could not: called by Airflow, in the dag processor."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cd2.notification import Message
from cd2.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def tell_of_failed_run(context: Context) -> None:
    """Publish a short message, unless `notify` has published the full one.

    notify fails on purpose after it has published (that makes the run red), and then with tries left. Without any
    left it may have been killed before: better twice than never.
    """
    ti: Any = context.get("ti")
    if ti is not None and ti.task_id == "notify" and ti.state == "failed" and ti.try_number <= ti.max_tries:
        return
    settings = Settings.load_usable()
    run_id = context.get("run_id") or getattr(context.get("dag_run"), "run_id", "unknown")
    reason = str(context.get("reason") or "unknown")
    subject = f"[FAILURE] Canvas Data 2 {settings.environment}: the run ended before it could report"
    body = (
        f"The run {run_id} of Canvas Data 2 failed ({reason}), and its task notify could not tell how the tables are.\n"
        "Open the run in Airflow: the grid shows every table. Clear what failed together with notify when the cause is "
        "gone.\n"
    )
    message = Message(subject[:100], body, {"environment": settings.environment, "status": "failure"})
    log.error("%s\n\n%s", message.subject, message.body)
    if settings.sns_topic_arn:
        from cd2.hooks import publish

        log.error("Published as %s.", publish(settings, message))
