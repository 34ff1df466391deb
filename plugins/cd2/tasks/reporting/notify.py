"""The DAG's last task: one message about the whole run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from cd2.notification import metrics
from cd2.notification.message import ONLY_FAILED, Message, compose
from cd2.notification.status import STATUS, status_of
from cd2.settings import Settings
from cd2.tasks.credentials import make_replicator
from cd2.tasks.links import UP_TO_DATE
from cd2.tasks.reporting import dictionary
from cd2.tasks.reporting.callbacks import REPORTED
from cd2.tasks.reporting.outcomes import RunTasks, collect, fingerprints
from cd2.tasks.reporting.replica import status_from_ledger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cd2.notification.summary import RunSummary

PUBLISHED = "published"
CHATBOT = "chatbot"


class Notify(BaseOperator):
    """Account for every listed table, publish one message, and fail the run if anything failed.

    :param prepare_task_id, list_task_id, sync_task_id, init_task_id: the tasks to report.
    """

    def __init__(
        self, *, prepare_task_id: str, list_task_id: str, sync_task_id: str, init_task_id: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = RunTasks(prepare_task_id, list_task_id, sync_task_id, init_task_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish the message, once per clear of this task."""
        # With wrong settings prepare_database failed, and that must be reported too.
        settings = Settings.load_usable()
        published = cast("dict[str, Any]", context["task_state_store"].get(PUBLISHED) or {})
        summary = collect(context, settings, self.tasks, published, make_replicator)
        message = compose(summary, settings.notification_format)
        told_before = published.get("max_tries") == context["ti"].max_tries
        if told_before:
            # By an earlier try: `max_tries` changes only when the task is cleared.
            self.log.info("Already published as %s.", published["message_id"])
        else:
            self._publish(context, settings, message, summary)
            if settings.metrics_namespace:
                metrics.put(settings, summary)
        context["ti"].xcom_push(key=REPORTED, value=message.subject)
        # Where the freshness could not be read, nothing can: nobody waits for the database a second time.
        ledger = status_from_ledger(make_replicator) if summary.freshness else {}
        context["ti"].xcom_push(key=STATUS, value=status_of(summary, ledger))
        # So that people can see what a chat would show before they choose that format.
        context["ti"].xcom_push(key=CHATBOT, value=json.loads(compose(summary, "chatbot").body))
        # Last, for it may take a while: all that people wait for is done.
        if not told_before and dictionary.is_due(context, settings, summary):
            dictionary.put(settings, make_replicator)
        if summary.status == "failure":
            raise AirflowFailException(
                f"{message.subject} (The failed tasks say why; to try them again, clear the run with the option "
                f'"{ONLY_FAILED}".)'
            )
        self._tell_followers(context, summary)
        return {"subject": message.subject, "status": summary.status, "counts": dict(summary.counts)}

    def _tell_followers(self, context: Context, summary: RunSummary) -> None:
        """Say by the asset that all tables are up to date, or do not: Airflow adds an event for each outlet."""
        if summary.partial or not summary.results:
            context["ti"].task.outlets = []
            return
        as_of = [result.data_as_of for result in summary.results if result.data_as_of]
        extra: dict[str, Any] = {"data_as_of": min(as_of, default=None), "tables": len(summary.results)}
        context["outlet_events"][UP_TO_DATE].extra = extra

    def _publish(self, context: Context, settings: Settings, message: Message, summary: RunSummary) -> None:
        self.log.info("%s\n\n%s", message.subject, message.body)
        message_id = None
        if settings.sns_topic_arn:
            from cd2.notification.sns import publish

            message_id = publish(settings, message)
            self.log.info("Published as %s.", message_id)
        else:
            self.log.info("No sns_topic_arn is set: the message is only logged.")
        note: Any = {"max_tries": context["ti"].max_tries, "status": summary.status, "message_id": message_id}
        note["results"] = fingerprints(summary.results)
        context["task_state_store"].set(PUBLISHED, note)
