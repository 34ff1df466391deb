"""The DAG's tasks. Each decides and reports; the work is done in `cd2.replication`.

Heavy packages are imported inside `execute`: every parse and every task process loads this module.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow.sdk import Asset, AssetAlias, BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DownstreamTasksSkipped

from cd2.collecting import DRY_RUN, ERROR, RESULT, RunTasks, collect
from cd2.errors import Cd2Error, StopAll, TableFailure
from cd2.last_resort import TOLD
from cd2.links import DapJobLink, TableLogLink
from cd2.notification import Message, compose
from cd2.results import Action, TableResult
from cd2.selection import choose_tables, wanted_namespaces
from cd2.settings import Settings, SettingsError
from cd2.summary import split_name
from cd2.triggers import JobTrigger, job_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

PUBLISHED = "published"
CHATBOT = "chatbot"
CHANGES = AssetAlias("canvas_data_2")
"""What the tables' tasks write to: each adds its table's own asset."""
CHANGED_STATES = ("initialized", "complete_with_schema_update")
WAIT_TIMEOUT = timedelta(hours=10)
"""For the turn and the job together; the job alone has its own, shorter limit (`cd2.replication.asking`)."""


def asset_of(table: str) -> Asset:
    """The asset of a table, `namespace.table`: another DAG can be scheduled on it."""
    return Asset(name=table, uri=f"cd2://{table.replace('.', '/')}")


class _Cd2Operator(BaseOperator):
    """A task that fails with a sentence, and hands it on for the notification."""

    def settings(self) -> Settings:
        try:
            return Settings.load()
        except SettingsError as error:
            raise StopAll(str(error)) from None

    def fail(self, ti: RuntimeTaskInstanceProtocol, error: Cd2Error) -> NoReturn:
        """End this try: for good where a person must act, otherwise so that Airflow tries again."""
        ti.xcom_push(key=ERROR, value=error.message)
        if isinstance(error, TableFailure):
            raise AirflowFailException(error.message) from None
        raise error from None


class PrepareDatabase(_Cd2Operator):
    """Make the schemas and the bookkeeping that all tables share."""

    def execute(self, context: Context) -> None:
        from cd2.hooks import replicator

        try:
            settings = self.settings()
            namespaces = wanted_namespaces(settings, context["params"])
            asyncio.run(replicator(settings).prepare(namespaces))
        except Cd2Error as error:
            self.fail(context["ti"], error)


class ListTables(_Cd2Operator):
    """List the tables of DAP that the settings and the trigger form ask for, as `namespace.table`."""

    def execute(self, context: Context) -> list[str]:
        try:
            names = asyncio.run(self._list(self.settings(), context["params"]))
        except Cd2Error as error:
            self.fail(context["ti"], error)
        self.log.info("%d tables: %s", len(names), ", ".join(names))
        if context["params"].get("dry_run"):
            context["ti"].xcom_push(key=DRY_RUN, value=names)
            return []
        return names

    async def _list(self, settings: Settings, params: Any) -> list[str]:
        from cd2.hooks import replicator

        dap = replicator(settings)
        listed: list[str] = []
        for namespace in wanted_namespaces(settings, params):
            listed += [f"{namespace}.{table}" for table in await dap.list_tables(namespace)]
        chosen = choose_tables(listed, settings, params.get("tables") or ())
        most = conf.getint("core", "max_map_length")
        if len(chosen) > most:
            raise TableFailure(
                f"There are {len(chosen):,} tables to replicate, but Airflow makes at most {most:,} tasks of one list: "
                "raise the Airflow option core.max_map_length, or choose by [cd2] include_tables and skip_tables."
            )
        return chosen


class _TableOperator(_Cd2Operator):
    """A task of one table.

    :param table: `namespace.table`; the grid shows it.
    """

    template_fields: Sequence[str] = ("table",)
    operator_extra_links = (DapJobLink(), TableLogLink())
    action: Action
    job_url: str | None = None

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    def fail(self, ti: RuntimeTaskInstanceProtocol, error: Cd2Error) -> NoReturn:
        namespace, table = split_name(self.table)
        result = error.result or TableResult(namespace, table, self.action, "failed", error=error.info)
        ti.xcom_push(key=RESULT, value=result.to_json())
        super().fail(ti, error)

    def wait_for_job(self, context: Context, since: datetime | None) -> NoReturn:
        """Leave the worker slot until DAP has the rows (`since` None) or changes ready, and go on with `load`."""
        dag_run = context["dag_run"]
        run = f"{dag_run.dag_id} {dag_run.run_id} {getattr(dag_run, 'clear_number', 0)}"
        trigger = JobTrigger(*split_name(self.table), since=since.isoformat() if since else None, run=run)
        self.defer(trigger=trigger, method_name="load", timeout=WAIT_TIMEOUT)

    def load_job(self, ti: RuntimeTaskInstanceProtocol, event: dict[str, Any], *, asked: bool = True) -> TableResult:
        """Load the job of a trigger's event; a failure ends this try."""
        from cd2.hooks import replicator

        namespace, table = split_name(self.table)
        try:
            settings = self.settings()
            dap = replicator(settings)
            try:
                job_id = job_of(event)
                self.job_url = f"{settings.dap_base_url}/dap/job/{job_id}"
            except Cd2Error as failure:
                return asyncio.run(dap.failed(namespace, table, self.action, failure))
            return asyncio.run(dap.load(namespace, table, job_id, self.action, asked=asked))
        except Cd2Error as error:
            self.fail(ti, error)

    def report(self, context: Context, result: TableResult) -> None:
        """Log and hand on the result; tell other DAGs if the table changed."""
        self.log.info(
            "%s: %s, %s rows written, %s deleted, %s bytes downloaded, data as of %s, %s s",
            result.qualified_name,
            result.state,
            result.rows_upserted,
            result.rows_deleted,
            result.bytes_downloaded,
            result.data_as_of,
            result.duration_s,
        )
        context["ti"].xcom_push(key=RESULT, value=result.to_json())
        if result.state in CHANGED_STATES or result.rows_upserted or result.rows_deleted:
            context["outlet_events"][CHANGES].add(
                asset_of(result.qualified_name), extra={"state": result.state, "data_as_of": result.data_as_of}
            )


class SyncTable(_TableOperator):
    """Bring one table up to date, or leave it to `init_table`.

    Decides, hands the waiting to the triggerer, and loads when the job is done.

    :param init_task_id: the task to skip when the table needs no init.
    """

    action: Action = "sync"

    def __init__(self, *, init_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_task_id = init_task_id

    def execute(self, context: Context) -> None:
        from cd2.hooks import replicator

        ti = context["ti"]
        namespace, table = split_name(self.table)
        try:
            since = asyncio.run(replicator(self.settings()).cursor(namespace, table))
        except Cd2Error as error:
            self.fail(ti, error)
        if since is None or context["params"].get("full_refresh"):
            as_of = since.isoformat() if since else None
            self.report(context, TableResult(namespace, table, "sync", "needs_init", since=as_of, data_as_of=as_of))
            return
        self.wait_for_job(context, since)

    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Goes on when the job is done."""
        ti = context["ti"]
        result = self.load_job(ti, event)
        self.report(context, result)
        if result.state != "needs_init":
            # A branch operator does not skip inside a mapped group in Airflow 3.3.1; this does.
            raise DownstreamTasksSkipped(tasks=[(self.init_task_id, ti.map_index)])


class InitTable(_TableOperator):
    """Fill one table from a snapshot, where its `sync_table` found that it is needed.

    :param sync_task_id: the task whose result at our own index decides.
    """

    action: Action = "init"

    def __init__(self, *, sync_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sync_task_id = sync_task_id

    def execute(self, context: Context) -> None:
        # Our instance may be made only after a quick sync skipped it, and then starts all the same.
        synced = self._synced(context["ti"])
        if not synced or synced["state"] != "needs_init":
            raise AirflowSkipException(f"{self.table} needs no init.")
        self.wait_for_job(context, None)

    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Goes on when the job is done."""
        ti = context["ti"]
        synced = self._synced(ti) or {}
        # A table without rows so far, or a full refresh, carries no error.
        self.report(context, self.load_job(ti, event, asked=not synced.get("error")))

    def _synced(self, ti: RuntimeTaskInstanceProtocol) -> dict[str, Any] | None:
        synced: dict[str, Any] | None = ti.xcom_pull(task_ids=self.sync_task_id, map_indexes=ti.map_index, key=RESULT)
        return synced


class Notify(BaseOperator):
    """Account for every listed table, publish one message, and fail the run if anything failed.

    :param prepare_task_id, list_task_id, sync_task_id, init_task_id: the tasks to account for.
    """

    def __init__(
        self, *, prepare_task_id: str, list_task_id: str, sync_task_id: str, init_task_id: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = RunTasks(prepare_task_id, list_task_id, sync_task_id, init_task_id)

    def execute(self, context: Context) -> dict[str, Any]:
        # Wrong settings are what prepare_database failed with: that must be told too.
        settings = Settings.load_usable()
        published = cast("dict[str, Any]", context["task_state_store"].get(PUBLISHED) or {})
        summary = collect(context, settings, self.tasks, published)
        message = compose(summary, settings.notification_format)
        if published.get("max_tries") == context["ti"].max_tries:
            # By an earlier try: `max_tries` is new after each clear only.
            self.log.info("Already published as %s.", published["message_id"])
        else:
            self._publish(context, settings, message, summary.status)
        context["ti"].xcom_push(key=TOLD, value=message.subject)
        # So that people can see what a chat would show before they choose that format.
        context["ti"].xcom_push(key=CHATBOT, value=json.loads(compose(summary, "chatbot").body))
        if summary.status == "failure":
            raise AirflowFailException(f"{message.subject}. The table's tasks say why; clear them to try again.")
        return {"subject": message.subject, "status": summary.status, "counts": dict(summary.counts)}

    def _publish(self, context: Context, settings: Settings, message: Message, status: str) -> None:
        self.log.info("%s\n\n%s", message.subject, message.body)
        message_id = None
        if settings.sns_topic_arn:
            from cd2.hooks import publish

            message_id = publish(settings, message)
            self.log.info("Published as %s.", message_id)
        else:
            self.log.info("No sns_topic_arn is set: the message stands only here.")
        note: Any = {"max_tries": context["ti"].max_tries, "status": status, "message_id": message_id}
        context["task_state_store"].set(PUBLISHED, note)
