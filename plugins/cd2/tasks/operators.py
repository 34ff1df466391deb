"""The DAG's tasks. They decide, call `cd2.replication`, and report.

Heavy packages are imported inside functions: every parse and every task process loads this module.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow.sdk import Asset, AssetAlias, BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DownstreamTasksSkipped
from airflow.triggers.base import BaseTrigger, StartTriggerArgs

from cd2.notification.message import Message, compose
from cd2.replication.errors import Cd2Error, TableFailure
from cd2.replication.names import TableName
from cd2.replication.results import Action, TableResult
from cd2.settings import Settings
from cd2.tasks.callbacks import REPORTED
from cd2.tasks.credentials import load_settings, make_replicator, with_credentials
from cd2.tasks.links import LINKS
from cd2.tasks.outcomes import DRY_RUN, ERROR, RESULT, RunTasks, collect
from cd2.tasks.selection import in_turn, list_and_choose, sizes_in_replica, wanted_namespaces
from cd2.tasks.triggers import Found, InitTrigger, SyncTrigger, find_changes, find_snapshot

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from cd2.replication.replicator import Replicator

PUBLISHED = "published"
CHATBOT = "chatbot"
ORDER = "order"
CHANGES = AssetAlias("canvas_data_2")
"""The outlet of the table tasks: each adds its own table's asset."""
CHANGED_STATES = ("initialized", "complete_with_schema_update")
WAIT_TIMEOUT = timedelta(hours=10)
"""For turn and job together; the job alone has a shorter limit (`cd2.replication.dap.jobs`)."""


def asset_of(table: TableName) -> Asset:
    """The asset of a table; other DAGs can be scheduled on it."""
    return Asset(name=str(table), uri=f"cd2://{table.namespace}/{table.table}")


def _fail(ti: RuntimeTaskInstanceProtocol, error: Cd2Error) -> NoReturn:
    """Fail this try with a sentence; Airflow retries, unless a person must act."""
    ti.xcom_push(key=ERROR, value=error.message)
    if isinstance(error, TableFailure):
        raise AirflowFailException(error.message) from None
    raise error from None


class PrepareDatabase(BaseOperator):
    """Create the schemas and the bookkeeping that all tables share."""

    def execute(self, context: Context) -> None:
        """Prepare the replica for the namespaces of this run."""
        try:
            namespaces = wanted_namespaces(load_settings(), context["params"])
            with_credentials(lambda replicator: replicator.prepare(namespaces))
        except Cd2Error as error:
            _fail(context["ti"], error)


class ListTables(BaseOperator):
    """List the tables of DAP that the settings and the trigger form select, as `namespace.table`."""

    def execute(self, context: Context) -> list[str]:
        """The names, in the order in which they ask DAP; none in a dry run, which leaves them in another XCom."""
        params = context["params"]
        dry_run = bool(params.get("dry_run"))
        store = context["task_state_store"]
        earlier = [TableName.parse(name) for name in cast("list[str]", store.get(ORDER) or [])]
        try:
            tables = with_credentials(lambda replicator: list_and_choose(replicator, load_settings(), params))
            _check_number(tables)
            if not dry_run:
                tables = in_turn(tables, with_credentials(partial(sizes_in_replica, tables=tables)), earlier)
        except Cd2Error as error:
            _fail(context["ti"], error)
        names = [str(table) for table in tables]
        self.log.info("%d tables: %s", len(names), ", ".join(names))
        if dry_run:
            context["ti"].xcom_push(key=DRY_RUN, value=names)
            return []
        store.set(ORDER, cast("Any", names))
        return names


def _check_number(tables: list[TableName]) -> None:
    most = conf.getint("core", "max_map_length")
    if len(tables) > most:
        raise TableFailure(
            f"There are {len(tables):,} tables to replicate, but Airflow maps at most {most:,}: raise the Airflow "
            "option core.max_map_length, or select fewer with [cd2] include_tables and skip_tables."
        )


class _TableOperator(BaseOperator):
    """A task for one table. It begins in the triggerer (`cd2.tasks.triggers`); a worker only loads and reports.

    :param table: `namespace.table`; the grid shows it.
    :param list_task_id: the task that lists the tables; the triggerer reads the table's name from its result.
    """

    template_fields: Sequence[str] = ("table",)
    operator_extra_links = LINKS
    start_from_trigger = True
    trigger: type[BaseTrigger]
    action: Action
    job_url: str | None = None

    def __init__(self, *, table: str, list_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.list_task_id = list_task_id
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=f"{self.trigger.__module__}.{self.trigger.__qualname__}",
            trigger_kwargs=self.trigger_arguments(),
            next_method="load",
            timeout=WAIT_TIMEOUT,
        )

    @property
    def table_name(self) -> TableName:
        """The table, once the template is rendered."""
        return TableName.parse(self.table)

    def trigger_arguments(self) -> dict[str, Any]:
        """The arguments of the trigger."""
        return {"list_task_id": self.list_task_id}

    async def find(self, context: Context, replicator: Replicator) -> Found:
        """What the trigger would find out."""
        raise NotImplementedError

    def execute(self, context: Context) -> None:
        """Do here what the trigger does: `dag.test()` starts none."""
        try:
            found = with_credentials(lambda replicator: self.find(context, replicator))
        except Cd2Error as error:
            found = Found(error=error)
        if found.skip:
            raise AirflowSkipException(f"{self.table} needs no init.")
        self.load(context, found.to_json())

    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Load the finished job, and report."""
        raise NotImplementedError

    def fail_table(self, ti: RuntimeTaskInstanceProtocol, error: Cd2Error) -> NoReturn:
        """Fail this try, and leave the table's result for the notification."""
        result = error.result or TableResult(self.table_name, self.action, "failed", error=error.info)
        ti.xcom_push(key=RESULT, value=result.to_json())
        _fail(ti, error)

    def load_job(self, ti: RuntimeTaskInstanceProtocol, found: Found, *, requested: bool = True) -> TableResult:
        """Load the job that the trigger found; its failure, or ours, fails this try."""

        async def load(replicator: Replicator) -> TableResult:
            if found.error:
                return await replicator.failed(self.table_name, self.action, found.error)
            self.job_url = replicator.job_url(str(found.job_id))
            return await replicator.load(self.table_name, str(found.job_id), self.action, requested=requested)

        try:
            return with_credentials(load)
        except Cd2Error as error:
            self.fail_table(ti, error)

    def report(self, context: Context, result: TableResult) -> None:
        """Log the result and hand it on; if the table changed, add an event to its asset."""
        self.log.info(
            "%s: %s, %s rows written, %s deleted, %s bytes downloaded, data as of %s, %s s",
            result.table,
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
                asset_of(result.table), extra={"state": result.state, "data_as_of": result.data_as_of}
            )


class SyncTable(_TableOperator):
    """Bring one table up to date, or leave it to `init_table`.

    :param init_task_id: the task to skip if the table needs no init.
    """

    trigger = SyncTrigger
    action: Action = "sync"

    def __init__(self, *, init_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_task_id = init_task_id

    async def find(self, context: Context, replicator: Replicator) -> Found:
        return await find_changes(replicator, self.table_name, full_refresh=bool(context["params"].get("full_refresh")))

    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Load the finished job, or leave the table to `init_table`."""
        ti = context["ti"]
        found = Found.from_json(event)
        if found.needs_init:
            result = TableResult(self.table_name, "sync", "needs_init", since=found.since, data_as_of=found.since)
        else:
            result = self.load_job(ti, found)
        self.report(context, result)
        if result.state != "needs_init":
            # A branch operator does not skip inside a mapped group in Airflow 3.3.1; this does.
            raise DownstreamTasksSkipped(tasks=[(self.init_task_id, ti.map_index)])


class InitTable(_TableOperator):
    """Fill one table from a snapshot, if its `sync_table` found that it needs one.

    If a quick sync skips it before its instance exists, the instance begins anyway; its trigger then skips it.

    :param sync_task_id: the task whose result at our map index decides.
    """

    trigger = InitTrigger
    action: Action = "init"

    def __init__(self, *, sync_task_id: str, **kwargs: Any) -> None:
        self.sync_task_id = sync_task_id
        super().__init__(**kwargs)

    def trigger_arguments(self) -> dict[str, Any]:
        return super().trigger_arguments() | {"sync_task_id": self.sync_task_id}

    async def find(self, context: Context, replicator: Replicator) -> Found:
        return await find_snapshot(replicator, self.table_name, synced=self._synced(context["ti"]))

    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Load the finished job."""
        synced = self._synced(context["ti"]) or {}
        # The sync of a new table, or of a full refresh, reports no error; that of an automatic re-init does.
        self.report(context, self.load_job(context["ti"], Found.from_json(event), requested=not synced.get("error")))

    def _synced(self, ti: RuntimeTaskInstanceProtocol) -> dict[str, Any] | None:
        synced: dict[str, Any] | None = ti.xcom_pull(task_ids=self.sync_task_id, map_indexes=ti.map_index, key=RESULT)
        return synced


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
        if published.get("max_tries") == context["ti"].max_tries:
            # By an earlier try: `max_tries` changes only when the task is cleared.
            self.log.info("Already published as %s.", published["message_id"])
        else:
            self._publish(context, settings, message, summary.status)
        context["ti"].xcom_push(key=REPORTED, value=message.subject)
        # So that people can see what a chat would show before they choose that format.
        context["ti"].xcom_push(key=CHATBOT, value=json.loads(compose(summary, "chatbot").body))
        if summary.status == "failure":
            raise AirflowFailException(f"{message.subject}. The failed tasks say why; clear them to try again.")
        return {"subject": message.subject, "status": summary.status, "counts": dict(summary.counts)}

    def _publish(self, context: Context, settings: Settings, message: Message, status: str) -> None:
        self.log.info("%s\n\n%s", message.subject, message.body)
        message_id = None
        if settings.sns_topic_arn:
            from cd2.notification.sns import publish

            message_id = publish(settings, message)
            self.log.info("Published as %s.", message_id)
        else:
            self.log.info("No sns_topic_arn is set: the message is only logged.")
        note: Any = {"max_tries": context["ti"].max_tries, "status": status, "message_id": message_id}
        context["task_state_store"].set(PUBLISHED, note)
