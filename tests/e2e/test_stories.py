"""What users do and see, through a real scheduler, its REST API and the notification as a subscriber receives it.

The stories run in this order on one stack: the first fills the replica that the others go on with.
"""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from local.airflow.api import INIT_TASK, SYNC_TASK
from local.compare import compare
from local.stack import Stack
from tests.e2e.conftest import NAMES, TABLES
from tests.e2e.secrets_search import MISTYPED, assert_no_secret_is_kept

NAMESPACES = ["canvas", "canvas_logs"]
CONF = {"namespaces": NAMESPACES, "tables": [*TABLES[:-1], "canvas_logs.web_logs"]}


def run(stack: Stack, conf: dict[str, object] | None = None) -> tuple[str, str]:
    """Trigger a run and wait for it: its id and its state."""
    run_id = stack.trigger(CONF | (conf or {}))
    return run_id, stack.wait(run_id, 240)


def states(stack: Stack, run_id: str) -> dict[str, str]:
    return {f"{result['namespace']}.{result['table']}": result["state"] for result in stack.results(run_id)}


def assert_equal_to_the_truth(stack: Stack, names: list[str] = NAMES) -> None:
    assert [table for table in compare(stack.simulator_url, stack.replica_dsn, names) if not table.equal] == []


def tasks(stack: Stack, run_id: str, task_id: str) -> dict[str, str]:
    """State of each mapped instance of a task by the name that the grid shows."""
    return {
        instance["rendered_map_index"]: instance["state"]
        for instance in stack.api.task_instances(run_id)
        if instance["task_id"] == task_id and instance["map_index"] >= 0
    }


def index_of(stack: Stack, run_id: str, name: str) -> int:
    """The map index of a table."""
    instances = stack.api.task_instances(run_id)
    (found,) = [i for i in instances if i["task_id"] == SYNC_TASK and i["rendered_map_index"] == name]
    return int(found["map_index"])


def sync_starts(stack: Stack, run_id: str) -> dict[str, str]:
    """When each table's sync last started."""
    instances = stack.api.task_instances(run_id)
    return {i["rendered_map_index"]: i["start_date"] for i in instances if i["task_id"] == "process_table.sync_table"}


def test_the_first_run_initialises_every_table_and_the_grid_shows_their_names(fresh: Stack) -> None:
    run_id, state = run(fresh)
    assert state == "success"
    assert states(fresh, run_id) == dict.fromkeys(NAMES, "initialized")
    assert tasks(fresh, run_id, "process_table.sync_table") == dict.fromkeys(NAMES, "success")
    assert tasks(fresh, run_id, "process_table.init_table") == dict.fromkeys(NAMES, "success")
    assert_equal_to_the_truth(fresh)
    (message,) = fresh.notifications()
    assert message.subject == "[OK] Canvas Data 2 dev: 5 tables up to date"
    assert message.attributes == {"environment": "dev", "status": "success"}
    assert "initialized                      5" in message.body
    users = index_of(fresh, run_id, "canvas.users")
    buttons = fresh.api.links(run_id, INIT_TASK, users)
    assert buttons["DAP job"].startswith(f"{fresh.simulator_url}/dap/job/")
    assert f"{INIT_TASK}/mapped/{users}" in buttons["Log of this table"]


def test_the_next_run_syncs_what_changed_and_skips_every_init(fresh: Stack) -> None:
    fresh.simulator.advance(0.3, NAMES)
    version = fresh.simulator.alter("canvas", "courses", "add_column", "homeroom", type="bool")
    run_id, state = run(fresh)
    assert state == "success"
    assert states(fresh, run_id) == dict.fromkeys(NAMES, "complete") | {"canvas.courses": "complete_with_schema_update"}
    assert set(tasks(fresh, run_id, "process_table.init_table").values()) == {"skipped"}
    courses = next(result for result in fresh.results(run_id) if result["table"] == "courses")
    assert courses["schema_version"] == version
    assert courses["rows_upserted"] > 0
    assert_equal_to_the_truth(fresh)


def test_one_failing_table_fails_the_run_alone_and_clearing_it_ends_green(fresh: Stack) -> None:
    fresh.simulator.advance(0.2, NAMES)
    fresh.simulator.fault("canvas", "roles", "missing_column", times=1)
    run_id, state = run(fresh)
    assert state == "failed"
    assert states(fresh, run_id) == dict.fromkeys(NAMES, "complete") | {"canvas.roles": "failed"}
    (message,) = fresh.notifications()
    assert message.subject == "[FAILURE] Canvas Data 2 dev: 1 of 5 tables failed"
    assert "canvas.roles: the data of job " in message.body
    assert "which its schema" in message.body
    assert f"/runs/{quote(run_id)}/tasks/process_table.sync_table/mapped/" in message.body
    assert message.attributes["status"] == "failure"
    before = sync_starts(fresh, run_id)

    fresh.api.clear({"dag_run_id": run_id, "only_failed": True})
    assert fresh.wait(run_id, 240) == "success"
    assert states(fresh, run_id) == dict.fromkeys(NAMES, "complete")
    (message,) = fresh.notifications()
    assert message.subject == "[OK] Canvas Data 2 dev: recovered, re-run, 5 tables up to date"
    after = sync_starts(fresh, run_id)
    assert [name for name in NAMES if before[name] != after[name]] == ["canvas.roles"]
    assert_equal_to_the_truth(fresh)


def test_a_dry_run_lists_and_replicates_nothing(fresh: Stack) -> None:
    run_id, state = run(fresh, {"dry_run": True})
    assert state == "success"
    assert states(fresh, run_id) == {}
    (message,) = fresh.notifications()
    assert "dry run, 5 tables listed" in message.subject
    assert "\n".join(NAMES) in message.body


def test_an_unknown_table_fails_before_any_work_and_is_told(fresh: Stack) -> None:
    run_id, state = run(fresh, {"tables": ["userz"]})
    assert state == "failed"
    assert tasks(fresh, run_id, "process_table.sync_table") == {}
    (message,) = fresh.notifications()
    assert message.subject == "[FAILURE] Canvas Data 2 dev: list_tables failed"
    assert "The trigger form names userz, but DAP lists no such table" in message.body


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
    (message,) = fresh.notifications()
    assert "list_tables failed" in message.subject
    assert "DAP refused the credentials: check client id and secret" in message.body
    assert wrong_secret not in message.body
    listing = [i for i in fresh.api.task_instances(run_id) if i["task_id"] == "list_tables"]
    assert [instance["try_number"] for instance in listing] == [1]


def test_no_secret_reaches_logs_or_what_airflow_keeps(stack: Stack) -> None:
    """Last, so that it searches all that the stories left behind, failures included."""
    assert_no_secret_is_kept(stack)
