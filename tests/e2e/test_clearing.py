"""Clearing tasks of a run that has ended: what was chosen runs again, and one message tells of it."""

from __future__ import annotations

import pytest

from local.airflow.api import SYNC_TASK
from local.stack import Stack
from tests.e2e.story import (
    NAMES,
    assert_equal_to_the_truth,
    clear,
    index_of,
    run,
    states,
    sync_starts,
    the_notification,
)

pytestmark = pytest.mark.slow


def test_several_failed_tables_are_cleared_at_once_and_only_they_run_again(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    for table in ("roles", "users"):
        filled.simulator.fault("canvas", table, "missing_column", times=1)
    run_id, state = run(filled)
    assert state == "failed"
    message = the_notification(filled)
    assert message.subject.startswith("[FAILURE] Canvas Data 2 dev: 2 of 5 tables failed: ")
    before = sync_starts(filled, run_id)

    chosen = [[SYNC_TASK, index_of(filled, run_id, name)] for name in ("canvas.roles", "canvas.users")]
    how = {"only_failed": False, "include_downstream": True, "reset_dag_runs": True}
    assert clear(filled, run_id, task_ids=chosen, **how) == "success"
    after = sync_starts(filled, run_id)
    assert [name for name in NAMES if before[name] != after[name]] == ["canvas.roles", "canvas.users"]
    assert states(filled, run_id) == dict.fromkeys(NAMES, "complete")
    message = the_notification(filled)
    assert message.subject == "[OK] Canvas Data 2 dev: recovered, re-run, 5 tables up to date"
    assert "\nThis re-run: 2 tables; 2 complete, " in message.body
    assert "\nThe whole run: 5 tables; 5 complete, " in message.body
    assert_equal_to_the_truth(filled)


def test_a_run_that_is_cleared_after_the_list_has_grown_and_shrunk_replicates_what_there_is_now(fresh: Stack) -> None:
    simulator = fresh.simulator
    columns = "*key:i64 name:s255?"
    for name in ("zz_first", "zz_second"):
        simulator.add_table("canvas", name, columns, 10)
    simulator.fault("canvas", "zz_first", "missing_column", times=1)
    run_id, state = run(fresh, {"tables": ["canvas.zz_*"]})
    assert state == "failed"
    fresh.notifications()
    list_again = {"task_ids": ["list_tables"], "only_failed": False, "include_downstream": True}

    # By name it comes first; it is listed last, because the others keep their places.
    simulator.add_table("canvas", "zz_added", columns, 10)
    assert clear(fresh, run_id, **list_again) == "success"
    grown = ["canvas.zz_first", "canvas.zz_second", "canvas.zz_added"]
    assert fresh.api.xcom(run_id, "list_tables") == grown
    assert set(states(fresh, run_id)) == set(grown)
    assert_equal_to_the_truth(fresh, grown)
    message = the_notification(fresh)
    assert message.subject == "[OK] Canvas Data 2 dev: recovered, re-run, 3 tables up to date"

    simulator.remove_table("canvas", "zz_first")
    assert clear(fresh, run_id, **list_again) == "success"
    assert fresh.api.xcom(run_id, "list_tables") == grown[1:]
    message = the_notification(fresh)
    assert message.subject == "[WARNING] Canvas Data 2 dev: re-run, 2 tables up to date, 1 no longer listed"
    assert_equal_to_the_truth(fresh, grown[1:])
    for name in ("zz_second", "zz_added"):
        simulator.remove_table("canvas", name)


def test_clearing_a_run_that_was_green_ends_green_and_says_that_it_was_a_re_run(filled: Stack) -> None:
    run_id, state = run(filled)
    assert state == "success"
    filled.notifications()
    assert clear(filled, run_id, only_failed=False) == "success"
    message = the_notification(filled)
    assert message.subject == "[OK] Canvas Data 2 dev: re-run, 5 tables up to date"
    assert set(states(filled, run_id)) == set(NAMES)
