"""Keep a PostgreSQL database equal to Canvas Data 2: one task per table, every three hours."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from airflow.sdk import (  # type: ignore[attr-defined]  # the stub file of Airflow 3.3.1 lacks AsyncCallback, Deadline*
    DAG,
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
    Param,
    TriggerRule,
    WeightRule,
    task_group,
)

from cd2 import __version__
from cd2.replication.names import NAMESPACES
from cd2.settings import Settings
from cd2.tasks.links import CHANGES, UP_TO_DATE
from cd2.tasks.operators import InitTable, ListTables, PrepareDatabase, SyncTable
from cd2.tasks.reporting.callbacks import LATE_AFTER, log_reason, report_failed_run, report_late_run
from cd2.tasks.reporting.notify import Notify
from cd2.tasks.retries import Backoff

DOCS = """
### Canvas Data 2 -> PostgreSQL

Every three hours: lists the tables that Instructure's DAP API offers, brings each one up to date (or initializes it
if needed), and sends one notification with all results. The run is green only if every table is up to date.

* **A table failed?** Its log ends with a sentence that says what to do. When the cause is fixed, clear the task: that
  table and `notify` run again, nothing else. (When you clear a whole run, choose "Clear only failed tasks".)
* **Trigger** takes a subset of namespaces and tables, and offers a full refresh, a verification of named tables, and a
  dry run that only lists.
* DAP allows 5 job creations a minute: about 90 tables take at least 18 minutes. Tables that wait are *deferred*
  (purple) and hold no worker. Until a table has had a worker, the grid shows its number; its log names it.
* The state of each table: see the page **Canvas Data** in the navigation, or `SELECT * FROM cd2.status`. What was
  loaded when: `cd2.loads`.
"""

TASK_DOCS = {
    "prepare_database": """Creates the schemas and the bookkeeping that all tables share.

**Red?** Settings, credentials or the database: the log says which. Clear it with its downstream tasks.""",
    "list_tables": """Asks DAP which tables there are, and selects by `[cd2] include_tables`, `skip_tables` and the
trigger form. The list is in the order in which the tables ask DAP: small ones first, with the largest in between.

**Red?** The DAP key, or a name that DAP does not list: the log says which.""",
    "sync_table": """Brings one table up to date, or leaves it to `init_table`. *Deferred* (purple) while it waits for
its turn at DAP and for its job.

**Red?** The last line of the log says what to do. Then clear the task with its downstream tasks.""",
    "init_table": """Fills one table from a snapshot if `sync_table` found that it needs one; otherwise skipped.
Readers see the old rows until it is done.""",
    "notify": """Accounts for every listed table once, publishes one message, and fails if any table failed, so that
the run is red. Clearing a table also clears it.""",
}
"""Shown beside each task in the UI."""

TABLE_NAME = "{{ task.table }}"

FIRST, INIT, SYNC = 30, 20, 10
"""Priorities. All tables wait for the tasks before them, and a person for `notify`. An init completes a table that its
sync has begun, so a first load has complete tables from the start. Absolute: by default Airflow adds the priorities of
all tasks that follow, and then every sync goes before the first init."""

PARAMS = {
    "namespaces": Param(
        [],
        title="Namespaces",
        type=["null", "array"],
        items={"type": "string", "enum": list(NAMESPACES)},
        examples=list(NAMESPACES),
        description="Namespaces to replicate. Empty: those of the setting [cd2] namespaces.",
    ),
    "tables": Param(
        [],
        title="Tables",
        type=["null", "array"],
        # list_tables checks the spelling: here a person would be shown a regular expression.
        items={"type": "string"},
        description="table or namespace.table, one per line, wildcards allowed. Empty: all that the settings include.",
    ),
    "full_refresh": Param(
        False,
        title="Full refresh",
        type="boolean",
        description="Make these tables equal to a new snapshot. DAP may refuse repeated snapshots.",
    ),
    "verify": Param(
        False,
        title="Verify",
        type="boolean",
        description="Compare the named tables with a new snapshot, value by value. DAP may refuse repeated snapshots.",
    ),
    "repair": Param(
        False,
        title="Repair",
        type="boolean",
        description="Verify the named tables, and correct the rows that differ.",
    ),
    "accept_shrink": Param(
        False,
        title="Accept shrink",
        type="boolean",
        description="Load the named tables even if that deletes more rows than [cd2] max_shrink allows.",
    ),
    "dry_run": Param(False, title="Dry run", type="boolean", description="Only list the tables; replicate nothing."),
}

with DAG(
    "canvas_data_2",
    dag_display_name="Canvas Data 2",
    description="Keep a PostgreSQL database equal to Canvas Data 2",
    doc_md=f"{DOCS}\nVersion {__version__}.\n",
    schedule="0 */3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    # The first load of a large institution may take long, but a run that hangs must not block the next ones forever.
    dagrun_timeout=timedelta(hours=24),
    on_failure_callback=partial(report_failed_run, notify_task_id="notify"),
    # With DAGRUN_QUEUED_AT, clearing a task answers 500 in Airflow 3.3.1. A run that a person triggers has no logical
    # date, and so no deadline.
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE, interval=LATE_AFTER, callback=AsyncCallback(report_late_run)
    ),
    max_active_tasks=Settings.load_usable().max_active_tables,
    params=PARAMS,
    tags=["canvas", "dap", "postgresql"],
    default_args={
        "owner": "data-engineering",
        # After the traceback, which fills the screen, the log ends with the sentence.
        "on_failure_callback": log_reason,
        "on_retry_callback": log_reason,
        "retries": 3,
        "retry_policy": Backoff(),
        # for tries that end without an exception, such as a killed worker's
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=15),
        # MWAA ends a task after 12 hours
        "execution_timeout": timedelta(hours=11),
        "priority_weight": FIRST,
        "weight_rule": WeightRule.ABSOLUTE,
    },
):
    prepare_database = PrepareDatabase(task_id="prepare_database", doc_md=TASK_DOCS["prepare_database"])
    list_tables = ListTables(task_id="list_tables", doc_md=TASK_DOCS["list_tables"])

    notify = Notify(
        task_id="notify",
        doc_md=TASK_DOCS["notify"],
        prepare_task_id="prepare_database",
        list_task_id="list_tables",
        sync_task_id="process_table.sync_table",
        init_task_id="process_table.init_table",
        outlets=[UP_TO_DATE],
        trigger_rule=TriggerRule.ALL_DONE,
    )

    @task_group(group_id="process_table")
    def process_table(table: str) -> None:
        """One table: a sync, and an init if the sync finds that it needs one."""
        sync_table = SyncTable(
            task_id="sync_table",
            doc_md=TASK_DOCS["sync_table"],
            table=table,
            list_task_id="list_tables",
            init_task_id="process_table.init_table",
            map_index_template=TABLE_NAME,
            outlets=[CHANGES],
            priority_weight=SYNC,
        )
        init_table = InitTable(
            task_id="init_table",
            doc_md=TASK_DOCS["init_table"],
            table=table,
            list_task_id="list_tables",
            sync_task_id="process_table.sync_table",
            map_index_template=TABLE_NAME,
            outlets=[CHANGES],
            priority_weight=INIT,
        )
        # Direct edges: if a clear lengthens the list, new syncs have no init yet, and notify would not wait for them.
        sync_table >> init_table
        [sync_table, init_table] >> notify

    process_table.expand(table=list_tables.output)
    prepare_database >> list_tables
    [prepare_database, list_tables] >> notify
