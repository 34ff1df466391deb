"""What happens to a run when a process of Airflow is taken away, or when it takes too long."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime

import psutil
import psycopg
import pytest

from local.airflow.api import DAG_ID
from local.stack import Stack
from tests.e2e.conftest import NAMES
from tests.e2e.test_stories import CONF, assert_equal_to_the_truth, states
from tests.e2e.test_waiting import sync_states, wait_for

pytestmark = pytest.mark.slow


def in_metadata(stack: Stack, statement: str) -> int:
    """Run a statement in Airflow's own database: how many rows it changed."""
    dsn = stack.airflow_environment()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement).rowcount


def loading_process(stack: Stack) -> psutil.Process | None:
    """The process of the task that copies rows into the replica at this moment."""
    with psycopg.connect(stack.replica_dsn) as connection:
        row = connection.execute("SELECT client_port FROM pg_stat_activity WHERE query LIKE 'COPY %'").fetchone()
    if row is None:
        return None
    for process in psutil.process_iter():
        try:
            if any(c.laddr and c.laddr.port == row[0] for c in process.net_connections("tcp")):
                return process
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return None


@pytest.mark.parametrize("lost", ["the task", "the task and the worker that watches it"])
def test_a_table_whose_worker_is_killed_while_it_loads_goes_on_with_the_same_job(filled: Stack, lost: str) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.reset_stats()
    filled.simulator.fault("canvas", "users", "slow_download", seconds=30)
    run_id = filled.trigger(CONF)
    victim: list[psutil.Process] = []

    def found() -> bool:
        if process := loading_process(filled):
            victim.append(process)
        return bool(victim)

    wait_for(found)
    task = victim[0]
    watcher = task.parent()
    assert watcher is not None
    os.kill(task.pid, signal.SIGKILL)
    if lost != "the task":
        os.kill(watcher.pid, signal.SIGKILL)
    wait_for(lambda: "up_for_retry" in sync_states(filled, run_id))
    assert in_metadata(
        filled, "UPDATE task_instance SET end_date = now() - interval '1 h' WHERE state = 'up_for_retry'"
    )
    assert filled.wait(run_id, 240) == "success"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete")
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)
    assert_equal_to_the_truth(filled)


def as_scheduled(stack: Stack) -> str:
    """A run with a logical date, as the schedule makes it; its id."""
    body = {"logical_date": datetime.now(UTC).isoformat(), "conf": CONF}
    return str(stack.api.call("POST", f"/dags/{DAG_ID}/dagRuns", json=body)["dag_run_id"])


def test_a_failed_run_is_not_told_of_again_when_its_time_is_over_and_can_be_cleared(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.fault("canvas", "roles", "missing_column", times=1)
    run_id = as_scheduled(filled)
    assert filled.wait(run_id, 240) == "failed"
    assert len(filled.notifications()) == 1
    in_metadata(filled, "UPDATE deadline SET deadline_time = now() WHERE NOT missed")
    wait_for(lambda: in_metadata(filled, "SELECT FROM deadline WHERE NOT missed") == 0)
    filled.api.clear({"dag_run_id": run_id, "only_failed": True})
    assert filled.wait(run_id, 240) == "success"
    (message,) = filled.notifications()
    assert message.subject == "[OK] Canvas Data 2 dev: recovered, re-run, 5 tables up to date"


def test_a_run_that_takes_too_long_is_told_of_while_it_goes_on(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.job_seconds(30)
    try:
        run_id = as_scheduled(filled)
        wait_for(lambda: "deferred" in sync_states(filled, run_id))
        # six hours later
        assert in_metadata(filled, "UPDATE deadline SET deadline_time = now() WHERE NOT missed") == 1
        messages = []

        def told() -> bool:
            messages.extend(filled.notifications())
            return bool(messages)

        wait_for(told)
        assert messages[0].subject == "[WARNING] Canvas Data 2 dev: a run is still going on after 6 h"
        assert run_id in messages[0].body
        assert messages[0].attributes == {"environment": "dev", "status": "warning"}
        assert filled.wait(run_id, 240) == "success"
    finally:
        filled.simulator.job_seconds(0)


def test_what_one_waiting_table_meets_for_all_ends_the_waits_of_the_others(filled: Stack) -> None:
    # New changes: a job that has been done before would be there at once.
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.reset_stats()
    filled.simulator.job_seconds(100)
    try:
        run_id = filled.trigger(CONF)
        wait_for(lambda: sync_states(filled, run_id) == ["deferred"] * len(NAMES))
        wait_for(lambda: sum(filled.simulator.stats()["jobs"].values()) >= len(NAMES))
        filled.simulator.fault(kind="account_disabled", endpoint="job")
        # sooner than any job ends
        assert filled.wait(run_id, 90) == "failed"
    finally:
        filled.simulator.job_seconds(0)
    assert states(filled, run_id) == dict.fromkeys(NAMES, "failed")
    (message,) = filled.notifications()
    assert message.subject == "[FAILURE] Canvas Data 2 dev: 5 of 5 tables failed"
    assert message.body.count("Instructure has disabled DAP for this account") == 1
    assert "5 tables failed with this" in message.body
    filled.api.clear({"dag_run_id": run_id, "only_failed": True})
    assert filled.wait(run_id, 240) == "success"
    assert_equal_to_the_truth(filled)


def test_a_run_that_airflow_ends_before_notify_is_told_of(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.job_seconds(100)
    try:
        run_id = filled.trigger(CONF)
        wait_for(lambda: "deferred" in sync_states(filled, run_id))
        # a day later
        assert (
            in_metadata(filled, "UPDATE dag_run SET start_date = now() - interval '25 h' WHERE state = 'running'") == 1
        )
        assert filled.wait(run_id, 60) == "failed"
        messages = []

        def told() -> bool:
            messages.extend(filled.notifications())
            return bool(messages)

        wait_for(told)
    finally:
        filled.simulator.job_seconds(0)
    (message,) = messages
    assert message.subject == "[FAILURE] Canvas Data 2 dev: the run ended before it could report"
    assert run_id in message.body
    assert message.attributes == {"environment": "dev", "status": "failure"}
