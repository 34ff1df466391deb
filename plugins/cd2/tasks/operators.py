"""The DAG's tasks but for `notify`. They decide, call `cd2.replication`, and report.

Heavy packages are imported inside functions: every parse and every task process loads this module.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow.triggers.base import StartTriggerArgs

from cd2.replication.errors import Cd2Error, TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.results import Action, TableResult
from cd2.tasks.credentials import load_settings, with_credentials
from cd2.tasks.finding import Found, Loading, find_changes, find_snapshot, find_verification, load_found
from cd2.tasks.links import CHANGES, LINKS, asset_of
from cd2.tasks.reporting.outcomes import DRY_RUN, ERROR, RESULT, RETRIED, UNLISTED
from cd2.tasks.selection import check_number, in_turn, list_and_choose, sizes_in_replica, wanted_namespaces
from cd2.tasks.verifying import VERIFY, check_form, check_meant, due, wants_verification

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from cd2.replication.replicator import Replicator

ORDER = "order"  # in the task state store, for a listing after a clear
NO_FORM: Mapping[str, Any] = {}
CHANGED_STATES = ("initialized", "complete_with_schema_update")
WAIT_TIMEOUT = timedelta(hours=10)
"""For turn and job together; the job alone has a shorter limit (`cd2.replication.dap.jobs`)."""


def _fail(ti: RuntimeTaskInstanceProtocol, error: Cd2Error) -> NoReturn:
    """Fail this try with a sentence; Airflow retries, unless a person must act."""
    if _is_last(ti):
        error.is_last()
    ti.xcom_push(key=ERROR, value=error.message)
    if isinstance(error, TableFailure):
        raise AirflowFailException(error.message) from None
    raise error from None


def _is_last(ti: RuntimeTaskInstanceProtocol) -> bool:
    """Whether no try follows if this one fails."""
    return ti.try_number > ti.max_tries


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
        to_verify: list[str] = []
        try:
            check_form(params, context["dag"].params)
            settings = load_settings()
            tables, unlisted = with_credentials(lambda replicator: list_and_choose(replicator, settings, params))
            check_meant(params, tables)
            check_number(tables)
            if not dry_run:
                sizes = with_credentials(partial(sizes_in_replica, tables=tables))
                tables = in_turn(tables, sizes, earlier)
                if context["dag_run"].run_type == "scheduled" and settings.verify_tables_per_day:
                    to_verify = with_credentials(partial(due, tables=tables, sizes=sizes, settings=settings))
        except Cd2Error as error:
            _fail(context["ti"], error)
        names = [str(table) for table in tables]
        self.log.info("%d tables: %s", len(names), ", ".join(names))
        context["ti"].xcom_push(key=UNLISTED, value=[missing.to_json() for missing in unlisted])
        if dry_run:
            context["ti"].xcom_push(key=DRY_RUN, value=names)
            return []
        store.set(ORDER, cast("Any", names))
        if to_verify:
            self.log.info("To be verified in this run: %s", ", ".join(to_verify))
            context["ti"].xcom_push(key=VERIFY, value=to_verify)
        return names


class _TableOperator(BaseOperator):
    """A task for one table. It begins in the triggerer (`cd2.tasks.triggers`); a worker only loads and reports.

    :param table: `namespace.table`; the grid shows it.
    :param list_task_id: the task that lists the tables; the triggerer reads the table's name from its result.
    """

    template_fields: Sequence[str] = ("table",)
    operator_extra_links = LINKS
    start_from_trigger = True
    trigger: str
    """The triggerer imports it; here it would only cost time."""
    action: Action
    job_url: str | None = None

    def __init__(self, *, table: str, list_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.list_task_id = list_task_id
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=f"cd2.tasks.triggers.{self.trigger}",
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

    @abstractmethod
    async def find(self, context: Context, replicator: Replicator) -> Found:
        """What the trigger would find out."""

    def execute(self, context: Context) -> None:
        """Do here what the trigger does: `dag.test()` starts none."""
        try:
            found = with_credentials(lambda replicator: self.find(context, replicator))
        except Cd2Error as error:
            found = Found(error=error)
        if found.skip:
            raise AirflowSkipException(f"{self.table} needs no init.")
        self.load(context, found.to_json())

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """What Airflow calls when the trigger has ended, also when it did so without an event."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            reason = f"DAP did not finish its job within {WAIT_TIMEOUT // timedelta(hours=1)} h: it will be retried."
        except TaskDeferralError:
            reason = "the triggerer could not run its trigger (the log above says why): it will be retried."
        return self.load(context, Found(error=TransientError(f"{self.table}: {reason}")).to_json())

    @abstractmethod
    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Load the finished job, and report."""

    def fail_table(self, ti: RuntimeTaskInstanceProtocol, error: Cd2Error) -> NoReturn:
        """Fail this try, and leave the table's result for the notification."""
        last = _is_last(ti)
        if last:
            error.is_last()
        if not last and not isinstance(error, TableFailure):
            ti.xcom_push(key=RETRIED, value=ti.try_number)
        result = error.result or TableResult(self.table_name, self.action, "failed", error=error.info)
        ti.xcom_push(key=RESULT, value=result.to_json())
        _fail(ti, error)

    def load_job(
        self, ti: RuntimeTaskInstanceProtocol, found: Found, requested: bool = True, form: Mapping[str, Any] = NO_FORM
    ) -> TableResult:
        """Load the job that the trigger found, and verify the table; its failure, or ours, fails this try."""

        async def load(replicator: Replicator) -> TableResult:
            if found.job_id:
                self.job_url = replicator.job_url(found.job_id)
            how = Loading(requested, bool(form.get("accept_shrink")), bool(form.get("repair")), _is_last(ti), ti.run_id)
            return await load_found(replicator, self.table_name, self.action, found, how)

        try:
            return replace(with_credentials(load), waited_s=found.waited_s)
        except Cd2Error as error:
            self.fail_table(ti, error)

    def report(self, context: Context, result: TableResult) -> None:
        """Log the result and hand it on; if the table changed, add an event to its asset."""
        self.log.info(
            "%s: %s, %s rows written, %s deleted%s, %s bytes downloaded, data as of %s, %s s",
            result.table,
            result.state,
            result.rows_upserted,
            result.rows_deleted,
            f", {result.rows_kept} kept that DAP no longer has" if result.rows_kept else "",
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

    trigger = "SyncTrigger"
    action: Action = "sync"

    def __init__(self, *, init_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_task_id = init_task_id

    async def find(self, context: Context, replicator: Replicator) -> Found:
        params = context["params"]
        on_its_own = self.table in (context["ti"].xcom_pull(task_ids=self.list_task_id, key=VERIFY) or ())
        if on_its_own or wants_verification(params):
            return await find_verification(replicator, self.table_name, on_its_own=on_its_own)
        return await find_changes(replicator, self.table_name, full_refresh=bool(params.get("full_refresh")))

    def load(self, context: Context, event: dict[str, Any]) -> None:
        """Load the finished job, or leave the table to `init_table`."""
        ti = context["ti"]
        found = Found.from_json(event)
        if found.needs_init:
            result = TableResult(self.table_name, "sync", "needs_init", since=found.since, data_as_of=found.since)
        else:
            result = self.load_job(ti, found, form=context["params"])
        self.report(context, result)
        if result.state != "needs_init":
            # A branch operator does not skip inside a mapped group in Airflow 3.3.1; this does.
            raise DownstreamTasksSkipped(tasks=[(self.init_task_id, ti.map_index)])


class InitTable(_TableOperator):
    """Fill one table from a snapshot, if its `sync_table` found that it needs one.

    If a quick sync skips it before its instance exists, the instance begins anyway; its trigger then skips it.

    :param sync_task_id: the task whose result at our map index decides.
    """

    trigger = "InitTrigger"
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
        requested, form = not synced.get("error"), context["params"]
        self.report(context, self.load_job(context["ti"], Found.from_json(event), requested=requested, form=form))

    def _synced(self, ti: RuntimeTaskInstanceProtocol) -> dict[str, Any] | None:
        synced: dict[str, Any] | None = ti.xcom_pull(task_ids=self.sync_task_id, map_indexes=ti.map_index, key=RESULT)
        return synced
