"""No table, forty-five tables, and more than Airflow takes."""

from __future__ import annotations

import pytest

from local.airflow.api import SYNC_TASK
from local.stack import Stack
from tests.e2e.conftest import MOST_TABLES
from tests.e2e.story import PATIENCE_S, assert_equal_to_the_truth, states, tasks, the_notification

pytestmark = pytest.mark.slow

ALL = ["canvas", "canvas_logs", "catalog", "new_quizzes"]


def test_forty_five_tables_at_once_wait_out_a_storm_of_429s_and_ask_for_each_job_once(fresh: Stack) -> None:
    names = [name for name in sorted(fresh.simulator.tables()) if name.startswith("canvas.")][:45]
    assert len(names) == 45
    # New changes: of what other stories have asked for already the job would be there, and none be made.
    fresh.simulator.advance(0.1, names)
    # As if another program used up what the account may ask for: thirty tables are refused once.
    for name in names[:30]:
        fresh.simulator.fault("canvas", name.split(".")[1], "too_many_requests", retry_after=2)
    fresh.simulator.reset_stats()
    run_id = fresh.trigger({"namespaces": ["canvas"], "tables": names})
    assert fresh.wait(run_id, PATIENCE_S) == "success"
    assert set(states(fresh, run_id)) == set(names)
    assert set(states(fresh, run_id).values()) <= {"initialized", "complete"}
    stats = fresh.simulator.stats()
    assert stats["statuses"]["429"] == 30
    assert stats["jobs"] == dict.fromkeys(names, 1)
    assert {i["try_number"] for i in fresh.api.task_instances(run_id) if i["task_id"] == SYNC_TASK} == {1}
    assert_equal_to_the_truth(fresh, names)
    message = the_notification(fresh)
    assert message.subject == "[OK] Canvas Data 2 dev: 45 tables up to date"


def test_more_tables_than_airflow_takes_of_one_list_is_an_error_that_names_the_option(fresh: Stack) -> None:
    assert len(fresh.simulator.tables()) > MOST_TABLES
    run_id = fresh.trigger({"namespaces": ALL})
    assert fresh.wait(run_id, PATIENCE_S) == "failed"
    assert tasks(fresh, run_id, "process_table.sync_table") == {}
    message = the_notification(fresh)
    assert message.subject.startswith("[FAILURE] Canvas Data 2 dev: list_tables failed: There are ")
    assert f"Airflow maps at most {MOST_TABLES}: raise the Airflow option core.max_map_length" in message.body


def test_a_namespace_without_a_table_is_a_green_run_that_says_so(fresh: Stack) -> None:
    removed = [name.split(".") for name in fresh.simulator.tables() if name.startswith("catalog.")]
    for namespace, table in removed:
        fresh.simulator.remove_table(namespace, table)
    try:
        run_id = fresh.trigger({"namespaces": ["catalog"]})
        assert fresh.wait(run_id, PATIENCE_S) == "success"
    finally:
        for namespace, table in removed:
            fresh.simulator.add_table(namespace, table)
    message = the_notification(fresh)
    assert message.subject == "[WARNING] Canvas Data 2 dev: no table to replicate"
