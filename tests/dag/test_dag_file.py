"""The shipped DAG: the names of the contract, team policy, and cheap parsing."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from inspect import iscoroutinefunction
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, AssetAll

from cd2.replication.names import TableName
from cd2.tasks.links import asset_of
from cd2.tasks.reporting import callbacks

REPOSITORY = Path(__file__).parents[2]
DAGS = REPOSITORY / "dags"


@pytest.fixture(scope="module")
def dag() -> DAG:
    bag = DagBag(DAGS)
    assert bag.import_errors == {}
    assert list(bag.dags) == ["canvas_data_2"]
    return bag.dags["canvas_data_2"]


def test_the_tasks_have_the_names_of_the_contract(dag: DAG) -> None:
    assert {task.task_id for task in dag.tasks} == {
        "prepare_database",
        "list_tables",
        "process_table.sync_table",
        "process_table.init_table",
        "notify",
    }


def test_notify_waits_for_every_task_and_runs_whatever_happened(dag: DAG) -> None:
    notify = dag.get_task("notify")
    assert notify.upstream_task_ids == {task.task_id for task in dag.tasks} - {"notify"}
    assert notify.trigger_rule == "all_done"
    assert notify.downstream_task_ids == set()


def test_one_run_at_a_time_every_three_hours_without_catching_up(dag: DAG) -> None:
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert str(dag.schedule) == "0 */3 * * *"


def test_the_dag_explains_itself_and_has_an_owner(dag: DAG) -> None:
    assert dag.doc_md
    assert dag.tags
    assert {task.owner for task in dag.tasks} == {"data-engineering"}
    assert all(task.retries for task in dag.tasks)
    assert all(task.doc_md for task in dag.tasks)


def test_the_trigger_form_is_checked(dag: DAG) -> None:
    params = dag.params
    assert set(params) == {"namespaces", "tables", "full_refresh", "verify", "repair", "accept_shrink", "dry_run"}
    wrong_values = {
        "namespaces": (["nope"], "is not one of"),
        "full_refresh": ("maybe", "is not of type 'boolean'"),
    }
    for key, (wrong, told) in wrong_values.items():
        with pytest.raises(Exception, match=told):
            params.get_param(key).resolve(wrong)
    assert params.get_param("tables").resolve(None) is None
    assert params.get_param("tables").resolve(["canvas.users", "quiz_*"]) == ["canvas.users", "quiz_*"]


def test_parsing_imports_nothing_heavy() -> None:
    """MWAA parses the file every 30 s, and each task process does so again."""
    probe = (
        "import sys, json, time, airflow.sdk\n"
        "start = time.process_time()\n"
        "import canvas_data_2\n"
        "heavy = ('dap', 'pysqlsync', 'asyncpg', 'boto3', 'botocore', 'aiohttp')\n"
        "print(json.dumps([m for m in heavy if m in sys.modules]))\n"
    )
    path = os.pathsep.join((str(DAGS), str(REPOSITORY / "plugins")))
    out = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout.splitlines()[-1]) == []


def test_a_wrong_setting_does_not_keep_the_dag_from_being_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run then fails with the sentence, in the grid and in the notification, instead of vanishing from the list."""
    monkeypatch.setenv("AIRFLOW__CD2__MAX_ACTIVE_TABLES", "many")
    bag = DagBag(DAGS)
    assert bag.import_errors == {}
    assert bag.dags["canvas_data_2"].max_active_tasks == 10


def test_the_example_of_a_dag_that_follows_a_table_is_scheduled_on_the_asset_that_tasks_report() -> None:
    bag = DagBag(REPOSITORY / "docs" / "examples")
    assert bag.import_errors == {}
    example = bag.dags["after_submissions"]
    reported = asset_of(TableName("canvas", "submissions"))
    assert example.timetable.asset_condition == AssetAll(reported)


def test_a_run_that_takes_too_long_is_told_of_by_a_function_that_can_be_imported(dag: DAG) -> None:
    (alert,) = dag.deadline if isinstance(dag.deadline, list) else [dag.deadline]
    assert alert is not None
    assert alert.interval == timedelta(hours=6)
    assert alert.callback.path == "cd2.tasks.reporting.callbacks.report_late_run"
    assert iscoroutinefunction(callbacks.report_late_run)
