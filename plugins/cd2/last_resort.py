"""What tells of a failed run when `notify` could not: called by Airflow, in the dag processor."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk import BaseXCom

from cd2.notification import Message
from cd2.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

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
    message = Message(subject[:100], body, {"environment": settings.environment, "status": "failure"})
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
