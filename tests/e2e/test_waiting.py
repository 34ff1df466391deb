"""A process of Airflow is taken away, or a job never ends well: nothing is lost or asked for twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg
import pytest

from local.airflow.api import DAG_ID, SYNC_TASK
from local.stack import Stack
from tests.e2e.story import (
    CONF,
    NAMES,
    PATIENCE_S,
    assert_equal_to_the_truth,
    clear,
    in_metadata,
    index_of,
    jobs_held_back,
    states,
    sync_states,
    the_notification,
    wait_for,
)

pytestmark = pytest.mark.slow

AN_HOUR_AGO = "UPDATE task_instance SET end_date = now() - interval '1 h' WHERE state = 'up_for_retry'"
"""Lets tables that wait for their retry begin it."""


def all_have_their_jobs(stack: Stack, run_id: str) -> bool:
    """Whether every table waits in the triggerer for a job that it has asked for."""
    if sync_states(stack, run_id) != ["deferred"] * len(NAMES):
        return False
    return bool(stack.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1))


@contextmanager
def a_run_that_waits(stack: Stack) -> Iterator[str]:
    """A run all of whose tables wait for their jobs; these are done when the block ends."""
    # New changes: a job that has been done before would be there at once.
    stack.simulator.advance(0.2, NAMES)
    stack.simulator.reset_stats()
    with jobs_held_back(stack):
        run_id = stack.trigger(CONF)
        wait_for(lambda: all_have_their_jobs(stack, run_id), "all tables wait for their jobs")
        yield run_id


def test_a_triggerer_that_is_killed_while_tables_wait_costs_no_second_job(filled: Stack) -> None:
    with a_run_that_waits(filled) as run_id:
        # First one, whose tables the other takes over; then the other as well.
        filled.supervisor.kill("triggerer")
        wait_for(lambda: one_triggerer_has_all(filled), "the other triggerer takes its tables over")
        filled.supervisor.kill("triggerer-2")
        filled.restart("triggerer")
        filled.restart("triggerer-2")
    assert filled.wait(run_id, PATIENCE_S) == "success"
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)
    assert_equal_to_the_truth(filled)


def one_triggerer_has_all(stack: Stack) -> bool:
    having = "HAVING count(*) = (SELECT count(*) FROM trigger)"
    return in_metadata(stack, f"SELECT FROM trigger GROUP BY triggerer_id {having}") == 1


def test_a_table_that_is_cleared_while_it_waits_goes_on_with_its_job(filled: Stack) -> None:
    with a_run_that_waits(filled) as run_id:
        waiting = [[SYNC_TASK, index_of(filled, run_id, "canvas.users")]]
        filled.api.clear({"dag_run_id": run_id, "task_ids": waiting, "only_failed": False, "include_downstream": True})
        wait_for(lambda: users_begin_again(filled, run_id), "the table begins again")
    assert filled.wait(run_id, PATIENCE_S) == "success"
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)
    assert_equal_to_the_truth(filled)


def test_a_table_whose_job_hangs_is_loaded_once_a_person_clears_it(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.reset_stats()
    filled.simulator.fault("canvas", "users", "hung_job")
    run_id = filled.trigger(CONF)
    wait_for(lambda: only_users_wait(filled, run_id), "only the table whose job hangs waits")
    hanging = [[SYNC_TASK, index_of(filled, run_id, "canvas.users")]]
    assert clear(filled, run_id, task_ids=hanging, only_failed=False, include_downstream=True) == "success"
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1) | {"canvas.users": 2}
    assert_equal_to_the_truth(filled)


def only_users_wait(stack: Stack, run_id: str) -> bool:
    if sorted(map(str, sync_states(stack, run_id))) != ["deferred"] + ["success"] * (len(NAMES) - 1):
        return False
    return bool(stack.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1))


def users_begin_again(stack: Stack, run_id: str) -> bool:
    index = index_of(stack, run_id, "canvas.users")
    (row,) = [i for i in stack.api.task_instances(run_id) if (i["task_id"], i["map_index"]) == (SYNC_TASK, index)]
    return bool(row["state"] == "deferred" and row["try_number"] == 2)


def test_a_table_that_is_marked_failed_while_it_waits_stops_waiting_and_its_job_stays_noted(filled: Stack) -> None:
    with a_run_that_waits(filled) as run_id:
        index = index_of(filled, run_id, "canvas.users")
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{SYNC_TASK}"
        filled.api.call("PATCH", path, params={"map_index": index}, json={"new_state": "failed"})
        wait_for(lambda: in_metadata(filled, "SELECT FROM trigger") == len(NAMES) - 1, "its trigger ends")
    assert filled.wait(run_id, PATIENCE_S) == "failed"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete") | {"canvas.users": "failed"}
    assert clear(filled, run_id, only_failed=True) == "success"
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)
    assert_equal_to_the_truth(filled)


def test_a_wait_that_takes_too_long_fails_its_try_with_a_sentence_and_the_next_try_goes_on(filled: Stack) -> None:
    with a_run_that_waits(filled) as run_id:
        ten_hours_pass = "UPDATE task_instance SET trigger_timeout = now() WHERE state = 'deferred' AND map_index = 0"
        assert in_metadata(filled, ten_hours_pass) == 1
        wait_for(lambda: "up_for_retry" in sync_states(filled, run_id), "the try fails")
        told = filled.api.xcom(run_id, SYNC_TASK, 0)["error"]["message"]
        reason = "DAP did not finish its job within 10 h: it will be retried."
        assert told == f"{filled.names(run_id)[0]}: {reason}"
        assert in_metadata(filled, AN_HOUR_AGO)
    assert filled.wait(run_id, PATIENCE_S) == "success"
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)


def test_the_log_of_a_waiting_table_names_it_and_says_what_it_waits_for(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    with jobs_held_back(filled):
        run_id = filled.trigger(CONF)
        wait_for(lambda: all_wait(filled, run_id), "all tables wait")
        index = index_of(filled, run_id, "canvas.users")
        wait_for(lambda: "canvas.users" in filled.api.log(run_id, SYNC_TASK, 1, index), "the log names the table")
    assert filled.wait(run_id, PATIENCE_S) == "success"
    log = filled.api.log(run_id, SYNC_TASK, 1, index)
    # What the triggerer did, and then what the worker did.
    assert log.index("begins here") < log.index("canvas.users: complete")


def all_wait(stack: Stack, run_id: str) -> bool:
    return sync_states(stack, run_id) == ["deferred"] * len(NAMES)


def test_what_one_waiting_table_meets_for_all_ends_the_waits_of_the_others(filled: Stack) -> None:
    with a_run_that_waits(filled) as run_id:
        filled.simulator.fault(kind="account_disabled", endpoint="job")
        # though no job has ended
        assert filled.wait(run_id, PATIENCE_S) == "failed"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "failed")
    message = the_notification(filled)
    assert message.subject.startswith("[FAILURE] Canvas Data 2 dev: 5 of 5 tables failed: Instructure has disabled DAP")
    assert message.body.count("Instructure has disabled DAP for this account") == 1
    assert "5 tables failed with this" in message.body


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
    filled.simulator.fault("canvas", "users", "slow_download", seconds=100)
    run_id = filled.trigger(CONF)
    victim: list[psutil.Process] = []

    def found() -> bool:
        if process := loading_process(filled):
            victim.append(process)
        return bool(victim)

    wait_for(found, "a task copies rows")
    task = victim[0]
    watcher = task.parent()
    assert watcher is not None
    os.kill(task.pid, signal.SIGKILL)
    if lost != "the task":
        os.kill(watcher.pid, signal.SIGKILL)
    wait_for(lambda: "up_for_retry" in sync_states(filled, run_id), "Airflow misses the task")
    assert in_metadata(filled, AN_HOUR_AGO)
    assert filled.wait(run_id, PATIENCE_S) == "success"
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete")
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)
    assert_equal_to_the_truth(filled)
