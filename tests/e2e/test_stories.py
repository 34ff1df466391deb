"""What users do and see, through a real scheduler, its REST API and the notification as a subscriber receives it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

import psutil
import psycopg
import pytest

from local.airflow.api import DAG_ID, INIT_TASK, SYNC_TASK
from local.stack import Stack
from tests.e2e.secrets_search import MISTYPED, Search
from tests.e2e.story import (
    CONF,
    NAMES,
    PATIENCE_S,
    assert_equal_to_the_truth,
    calls_for_failed_runs,
    clear,
    in_metadata,
    index_of,
    jobs_held_back,
    next_notification,
    only_these_tables,
    run,
    states,
    sync_starts,
    sync_states,
    tasks,
    the_notification,
    wait_for,
)

pytestmark = pytest.mark.slow


def test_the_first_run_initialises_every_table_and_the_grid_shows_their_names(fresh: Stack) -> None:
    names = ["canvas.yy_first", "canvas.yy_second"]
    for name in names:
        fresh.simulator.add_table("canvas", name.removeprefix("canvas."), "*key:i64 name:s255?", 10)
    try:
        run_id, state = run(fresh, {"tables": names})
        assert state == "success"
        assert states(fresh, run_id) == dict.fromkeys(names, "initialized")
        assert tasks(fresh, run_id, SYNC_TASK) == dict.fromkeys(names, "success")
        assert tasks(fresh, run_id, INIT_TASK) == dict.fromkeys(names, "success")
        priorities = {i["task_id"]: i["priority_weight"] for i in fresh.api.task_instances(run_id)}
        once = {priorities.pop(task) for task in ("prepare_database", "list_tables", "notify")}
        assert min(once) > priorities[INIT_TASK] > priorities[SYNC_TASK] > 0
        assert_equal_to_the_truth(fresh, names)
    finally:
        for name in names:
            fresh.simulator.remove_table("canvas", name.removeprefix("canvas."))
    message = the_notification(fresh)
    assert message.subject == "[OK] Canvas Data 2 dev: 2 tables up to date"
    assert message.attributes == {"environment": "dev", "status": "success", "severity": "info"}
    assert "\n2 initialized, " in message.body
    index = index_of(fresh, run_id, names[0])
    buttons = fresh.api.links(run_id, INIT_TASK, index)
    assert buttons["DAP job"].startswith(f"{fresh.simulator_url}/dap/job/")
    assert f"{INIT_TASK}/mapped/{index}" in buttons["Log of this table"]


def asset_events(stack: Stack) -> list[dict[str, object]]:
    events: list[dict[str, object]] = stack.api.call("GET", "/assets/events", params={"limit": 500})["asset_events"]
    return events


def test_the_next_run_syncs_what_changed_reports_it_as_assets_and_skips_every_init(filled: Stack) -> None:
    assert run(filled)[1] == "success"
    filled.notifications()
    before = {event["id"] for event in asset_events(filled)}
    filled.simulator.advance(0.3, ["canvas.courses", "canvas.users"])
    version = filled.simulator.alter("canvas", "courses", "add_column", "homeroom", type="bool")
    run_id, state = run(filled)
    assert state == "success"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete") | {
        "canvas.courses": "complete_with_schema_update"
    }
    assert set(tasks(filled, run_id, INIT_TASK).values()) == {"skipped"}
    courses = next(result for result in filled.results(run_id) if result["table"] == "courses")
    assert courses["schema_version"] == version
    assert courses["rows_upserted"] > 0
    new = [event for event in asset_events(filled) if event["id"] not in before]
    assert sorted(str(event["uri"]) for event in new) == ["cd2://canvas/courses", "cd2://canvas/users"]
    assert_equal_to_the_truth(filled)


def test_a_run_about_all_tables_says_by_an_asset_and_in_metrics_that_they_are_up_to_date(filled: Stack) -> None:
    listed = filled.api.call("GET", "/assets", params={"name_pattern": "Canvas Data 2 is up to date"})["assets"]
    assert [asset["uri"] for asset in listed] == ["x-cd2://up_to_date"]
    before = {event["id"] for event in asset_events(filled)}
    assert run(filled)[1] == "success"
    some = [event for event in asset_events(filled) if event["id"] not in before]
    assert "x-cd2://up_to_date" not in {event["uri"] for event in some}
    with only_these_tables(filled, NAMES):
        run_id = filled.trigger({})
        assert filled.wait(run_id, PATIENCE_S) == "success"
    (event,) = [event for event in asset_events(filled) if event["uri"] == "x-cd2://up_to_date"]
    oldest = min(str(result["data_as_of"]) for result in filled.results(run_id))
    assert event["extra"] == {"data_as_of": oldest, "tables": len(NAMES)}
    stored = filled.aws.client("cloudwatch").list_metrics(Namespace="CanvasData2/dev")["Metrics"]
    assert {metric["MetricName"] for metric in stored} == {
        *("FailedTables", "FreshnessSeconds", "RowsWritten", "SecondsWaitedForDap", "VolumeAlerts"),
    }
    with psycopg.connect(filled.replica_dsn) as connection:
        loads = connection.execute("SELECT count(*) FROM cd2.loads WHERE run_id = %s", [run_id]).fetchone()
    assert loads == (len(NAMES),)


def test_a_scheduled_run_about_all_tables_writes_the_data_dictionary_to_s3(filled: Stack) -> None:
    s3 = filled.aws.client("s3")
    s3.create_bucket(Bucket="dictionaries", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    with only_these_tables(filled, NAMES):
        with jobs_held_back(filled):
            run_id = filled.trigger({})
            wait_for(lambda: "deferred" in sync_states(filled, run_id), "a table waits")
            # Nothing is scheduled here; the tasks that begin from now on see a run of the schedule.
            this_run = f"WHERE run_id = '{run_id}'"
            assert in_metadata(filled, f"UPDATE dag_run SET run_type = 'scheduled' {this_run}") == 1
        try:
            assert filled.wait(run_id, PATIENCE_S) == "success"
        finally:
            in_metadata(filled, f"UPDATE dag_run SET run_type = 'manual' {this_run}")
    written = s3.get_object(Bucket="dictionaries", Key="canvas/dictionary.html")
    page = written["Body"].read().decode()
    assert "<h1>Data dictionary of Canvas Data 2</h1>" in page
    assert [name for name in NAMES if f'<section class="table" id="{name}"' not in page] == []


def as_scheduled(stack: Stack) -> str:
    """A run with a logical date, as the schedule makes it; its id."""
    body = {"logical_date": datetime.now(UTC).isoformat(), "conf": CONF}
    return str(stack.api.call("POST", f"/dags/{DAG_ID}/dagRuns", json=body)["dag_run_id"])


def six_hours_pass(stack: Stack) -> int:
    """Let the deadlines of all runs be now: how many there are."""
    return in_metadata(stack, "UPDATE deadline SET deadline_time = now() WHERE NOT missed")


def test_one_failing_table_fails_the_run_alone_is_told_of_once_and_clearing_it_ends_green(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.fault("canvas", "roles", "missing_column", times=1)
    calls = calls_for_failed_runs(filled)
    run_id = as_scheduled(filled)
    assert filled.wait(run_id, PATIENCE_S) == "failed"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete") | {"canvas.roles": "failed"}
    message = the_notification(filled)
    assert message.subject.startswith("[FAILURE] Canvas Data 2 dev: 1 of 5 tables failed: canvas.roles: the data of")
    assert "canvas.roles: the data of job " in message.body
    assert "which its schema" in message.body
    assert f"/runs/{quote(run_id)}/tasks/process_table.sync_table/mapped/" in message.body
    assert f"This run: {filled.ui}/dags/canvas_data_2/runs/{quote(run_id)}\n" in message.body
    assert f"{filled.ui}/plugin/canvas-data\n" in message.body
    assert message.attributes["status"] == "failure"
    before = sync_starts(filled, run_id)
    wait_for(lambda: calls_for_failed_runs(filled) > calls, "Airflow calls the callback of a failed run")
    six_hours_pass(filled)
    wait_for(lambda: in_metadata(filled, "SELECT FROM deadline WHERE NOT missed") == 0, "Airflow sees the deadline")

    assert clear(filled, run_id, only_failed=True) == "success"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete")
    # neither the callback of the failed run nor the deadline has told of it a second time
    message = the_notification(filled)
    assert message.subject == "[OK] Canvas Data 2 dev: recovered, re-run, 5 tables up to date"
    after = sync_starts(filled, run_id)
    assert [name for name in NAMES if before[name] != after[name]] == ["canvas.roles"]
    assert_equal_to_the_truth(filled)


def test_a_run_that_is_cleared_before_airflow_calls_for_its_failure_is_told_of_by_its_second_end(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.fault("canvas", "roles", "missing_column", times=1)
    calls = calls_for_failed_runs(filled)
    processor = psutil.Process(filled.supervisor.pid("dag-processor"))
    processor.suspend()
    try:
        run_id, state = run(filled)
        assert state == "failed"
        assert the_notification(filled).subject.startswith("[FAILURE]")
        with jobs_held_back(filled):
            filled.api.clear({"dag_run_id": run_id, "only_failed": True})
            wait_for(lambda: "deferred" in sync_states(filled, run_id), "the cleared table waits")
            # as Airflow does when notify begins again
            assert in_metadata(filled, f"DELETE FROM xcom WHERE key = 'reported' AND run_id = '{run_id}'") == 1
            processor.resume()
            wait_for(lambda: calls_for_failed_runs(filled) > calls, "Airflow calls the callback of the failed run")
            # The callback has a process of its own, and takes seconds to ask what it needs to know.
            assert psutil.wait_procs(processor.children(), PATIENCE_S)[1] == []
            assert filled.notifications() == []
            assert filled.api.run(run_id)["state"] == "running"
    finally:
        processor.resume()
    assert filled.wait(run_id, PATIENCE_S) == "success"
    message = the_notification(filled)
    assert message.subject == "[OK] Canvas Data 2 dev: recovered, re-run, 5 tables up to date"


def test_a_run_that_takes_too_long_is_told_of_while_it_goes_on(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    with jobs_held_back(filled):
        run_id = as_scheduled(filled)
        wait_for(lambda: "deferred" in sync_states(filled, run_id), "a table waits")
        assert six_hours_pass(filled) == 1
        message = next_notification(filled)
        assert filled.api.run(run_id)["state"] == "running"
    assert message.subject == "[WARNING] Canvas Data 2 dev: a run is still running after 6 h"
    assert run_id in message.body
    assert message.attributes == {"environment": "dev", "status": "warning", "severity": "warning"}
    assert filled.wait(run_id, PATIENCE_S) == "success"


def test_a_run_that_airflow_ends_before_notify_is_told_of(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    with jobs_held_back(filled):
        run_id = filled.trigger(CONF)
        wait_for(lambda: "deferred" in sync_states(filled, run_id), "a table waits")
        a_day_ago = "UPDATE dag_run SET start_date = now() - interval '25 h' WHERE state = 'running'"
        assert in_metadata(filled, a_day_ago) == 1
        assert filled.wait(run_id, PATIENCE_S) == "failed"
        message = next_notification(filled)
    assert message.subject == "[FAILURE] Canvas Data 2 dev: the run ended before it could report"
    assert run_id in message.body
    assert message.attributes == {"environment": "dev", "status": "failure", "severity": "high"}


@pytest.mark.parametrize(
    ("requested", "told"),
    [
        ("userz", "The trigger form names userz, but DAP lists no such table in "),
        ("users; drop", 'The trigger form has "users; drop", which is not a table name'),
    ],
)
def test_an_unknown_table_fails_before_any_work_and_is_told(fresh: Stack, requested: str, told: str) -> None:
    run_id, state = run(fresh, {"tables": [requested]})
    assert state == "failed"
    assert tasks(fresh, run_id, SYNC_TASK) == {}
    message = the_notification(fresh)
    assert message.subject.startswith(f"[FAILURE] Canvas Data 2 dev: list_tables failed: {told[:30]}")
    assert told in message.body
    # What a person reads first in the log of the failed task is why, and not a traceback.
    *_, reason, end = fresh.api.log(run_id, "list_tables", 1).splitlines()
    assert (told in reason, end) == (True, "::endgroup::")


@pytest.fixture
def wrong_secret(fresh: Stack) -> Iterator[str]:
    """A DAP secret in SSM that the service refuses, for one story."""
    ssm = fresh.aws.client("ssm")
    path = "/dev/canvas_data_2/dap_client_secret"
    ssm.put_parameter(Name=path, Value=MISTYPED, Type="SecureString", Overwrite=True)
    yield MISTYPED
    ssm.put_parameter(Name=path, Value=fresh.folder.secret("dap_client_secret"), Type="SecureString", Overwrite=True)


def test_wrong_credentials_end_the_run_at_once_with_a_sentence(fresh: Stack, wrong_secret: str) -> None:
    run_id, state = run(fresh)
    assert state == "failed"
    message = the_notification(fresh)
    assert "list_tables failed" in message.subject
    assert "DAP refused the credentials: check client id and secret" in message.body
    assert wrong_secret not in message.body
    listing = [i for i in fresh.api.task_instances(run_id) if i["task_id"] == "list_tables"]
    assert [instance["try_number"] for instance in listing] == [1]


def test_the_search_for_secrets_after_each_story_finds_what_is_in_logs_and_in_airflows_database(filled: Stack) -> None:
    run_id, state = run(filled)
    assert state == "success"
    places = set(Search(filled).places_of([run_id]))
    assert places >= {"xcom", "rendered_task_instance_fields", "task_state_store", "log", "logs/scheduler.log"}
    of_tasks = [place for place in Search(filled).places_of(["canvas.users"]) if f"run_id={run_id}" in place]
    assert [place for place in of_tasks if "task_id=process_table.sync_table" in place]
