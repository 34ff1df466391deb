"""What a table or a run meets, and what ends it well: on a replica that is filled already."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from local import aws
from local.stack import Stack
from tests.e2e.official_client import dap
from tests.e2e.secrets_search import MISTYPED
from tests.e2e.story import NAMES, assert_equal_to_the_truth, clear, run, states, tasks, the_notification

pytestmark = pytest.mark.slow


def test_the_official_client_goes_on_with_the_replica_and_we_after_it(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    tables = ",".join(name.split(".")[1] for name in NAMES if name.startswith("canvas."))
    dap(filled, "syncdb", "--namespace", "canvas", "--table", tables)
    assert_equal_to_the_truth(filled, NAMES[:-1])
    filled.simulator.advance(0.2, NAMES)
    run_id, state = run(filled)
    assert state == "success"
    assert set(states(filled, run_id).values()) == {"complete"}
    assert_equal_to_the_truth(filled)


def test_what_every_table_would_meet_stops_them_all_at_once(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.fault("canvas", "roles", "account_disabled", times=1)
    run_id, state = run(filled)
    assert state == "failed"
    assert states(filled, run_id)["canvas.roles"] == "failed"
    message = the_notification(filled)
    assert "Instructure has disabled DAP for this account" in message.body
    assert "type AccountDisabled, uuid " in message.body

    assert clear(filled, run_id, only_failed=True) == "success"
    assert set(states(filled, run_id).values()) == {"complete"}
    assert_equal_to_the_truth(filled)


def test_a_table_that_must_be_reloaded_is_initialised_in_the_same_run(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.fault("canvas", "users", "snapshot_required")
    run_id, state = run(filled)
    assert state == "success"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete") | {"canvas.users": "initialized"}
    users = next(result for result in filled.results(run_id) if result["table"] == "users")
    assert users["action"] == "reinit"
    assert_equal_to_the_truth(filled)


def test_a_full_refresh_of_a_subset_initialises_just_that(filled: Stack) -> None:
    run_id, state = run(filled, {"tables": ["canvas.role?"], "full_refresh": True})
    assert state == "success"
    assert states(filled, run_id) == {"canvas.roles": "initialized"}
    assert_equal_to_the_truth(filled, ["canvas.roles"])


@pytest.fixture
def wrong_password(filled: Stack) -> Iterator[str]:
    """A password in the database's secret that PostgreSQL refuses, for one story."""
    secrets_manager = filled.aws.client("secretsmanager")
    right = secrets_manager.get_secret_value(SecretId=aws.DATABASE_SECRET)["SecretString"]
    wrong = json.dumps(json.loads(right) | {"password": MISTYPED})
    secrets_manager.put_secret_value(SecretId=aws.DATABASE_SECRET, SecretString=wrong)
    yield MISTYPED
    secrets_manager.put_secret_value(SecretId=aws.DATABASE_SECRET, SecretString=right)


def test_a_refused_database_password_ends_the_run_at_its_first_task_and_is_told(
    filled: Stack, wrong_password: str
) -> None:
    run_id, state = run(filled)
    assert state == "failed"
    assert tasks(filled, run_id, "process_table.sync_table") == {}
    message = the_notification(filled)
    assert message.subject.startswith(
        "[FAILURE] Canvas Data 2 dev: prepare_database failed: PostgreSQL refused the login"
    )
    assert "password" in message.body
    assert wrong_password not in message.body
    tries = {i["task_id"]: i["try_number"] for i in filled.api.task_instances(run_id)}
    assert tries["prepare_database"] == 1
