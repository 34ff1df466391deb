"""How many worker processes the tables of a run cost: they wait in the triggerer, and a worker only loads."""

from __future__ import annotations

from collections import Counter

import pytest

from local.airflow.api import INIT_TASK, SYNC_TASK
from local.stack import Stack
from tests.e2e.story import CONF, NAMES, PATIENCE_S, clear, in_metadata, index_of, run, states, sync_states, wait_for

pytestmark = pytest.mark.slow

BEGINS = '"event":"DAG bundles loaded'
"""What a task process logs first, once."""


def processes(stack: Stack, run_id: str) -> Counter[tuple[str, str]]:
    """How many worker processes each table's tasks have had in a run, by task and table; every try counts."""
    names = stack.names(run_id)
    found: Counter[tuple[str, str]] = Counter()
    # Beside them are the logs of the triggerers: attempt=1.log.trigger.2.log
    for log in (stack.folder.airflow / "logs" / "dag_id=canvas_data_2" / f"run_id={run_id}").rglob("attempt=?.log"):
        task_id, index = (part.partition("=")[2] for part in log.parts[-3:-1])
        if log.parent.name.startswith("map_index="):
            found[task_id, names[int(index)]] += log.read_text().count(BEGINS)
    return +found


def of(task_id: str, names: list[str]) -> Counter[tuple[str, str]]:
    return Counter((task_id, name) for name in names)


def test_tables_without_changes_and_tables_with_changes_cost_one_process_each(filled: Stack) -> None:
    run_id, state = run(filled)
    assert state == "success"
    assert processes(filled, run_id) == of(SYNC_TASK, NAMES)
    filled.simulator.advance(0.2, NAMES)
    run_id, state = run(filled)
    assert state == "success"
    assert processes(filled, run_id) == of(SYNC_TASK, NAMES)


def test_tables_that_are_initialised_cost_two_processes_and_the_others_none_for_their_init(filled: Stack) -> None:
    run_id, state = run(filled, {"tables": ["canvas.roles", "canvas.users"], "full_refresh": True})
    assert state == "success"
    both = ["canvas.roles", "canvas.users"]
    assert states(filled, run_id) == dict.fromkeys(both, "initialized")
    assert processes(filled, run_id) == of(SYNC_TASK, both) + of(INIT_TASK, both)


def test_each_try_costs_one_process_and_a_clear_costs_those_that_it_cleared(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.fault("canvas", "roles", "missing_column", times=1)
    filled.simulator.fault("canvas", "users", "server_error", times=50, endpoint="job", status=503)
    run_id = filled.trigger(CONF)
    wait_for(lambda: "up_for_retry" in sync_states(filled, run_id), "a table waits for its retry")
    filled.simulator.clear_faults()
    an_hour_ago = "UPDATE task_instance SET end_date = now() - interval '1 h' WHERE state = 'up_for_retry'"
    assert in_metadata(filled, an_hour_ago)
    assert filled.wait(run_id, PATIENCE_S) == "failed"
    once = of(SYNC_TASK, NAMES)
    assert processes(filled, run_id) == once + of(SYNC_TASK, ["canvas.users"])
    chosen = [[SYNC_TASK, index_of(filled, run_id, "canvas.roles")]]
    assert clear(filled, run_id, task_ids=chosen, only_failed=False, include_downstream=True) == "success"
    assert processes(filled, run_id) == once + of(SYNC_TASK, ["canvas.users", "canvas.roles"])
