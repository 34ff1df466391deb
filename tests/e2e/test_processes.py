"""How many worker processes the tables of a run cost: they wait in the triggerer, and a worker only loads."""

from __future__ import annotations

import re
from collections import Counter

import psycopg
import pytest

from local.airflow.api import INIT_TASK, SYNC_TASK
from local.stack import Stack
from tests.e2e.story import CONF, NAMES, PATIENCE_S, clear, in_metadata, index_of, metadata_dsn, run, states, wait_for

pytestmark = pytest.mark.slow

STARTED = re.compile(r"method=PATCH path=/execution/task-instances/([0-9a-f-]{36})/run\b")
"""How a task process announces itself to the API server, once."""
TRIES = """
SELECT task_id, map_index, id::text FROM task_instance WHERE run_id = %(run)s
UNION SELECT task_id, map_index, task_instance_id::text FROM task_instance_history WHERE run_id = %(run)s"""


def processes(stack: Stack, run_id: str) -> Counter[tuple[str, str]]:
    """How many worker processes each table's tasks have had in a run, by task and table; every try counts."""
    started = Counter(STARTED.findall((stack.folder.logs / "api-server.log").read_text(errors="replace")))
    names = stack.api.xcom(run_id, "list_tables")
    found: Counter[tuple[str, str]] = Counter()
    with psycopg.connect(metadata_dsn(stack)) as connection:
        for task_id, map_index, identity in connection.execute(TRIES, {"run": run_id}):
            if map_index >= 0:
                found[task_id, names[map_index]] += started[identity]
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
    with_retry = {("up_for_retry", index_of_users) for index_of_users in [NAMES.index("canvas.users")]}
    run_id = filled.trigger(CONF)
    wait_for(lambda: with_retry <= waiting_for_retry(filled, run_id), "a table waits for its retry")
    filled.simulator.clear_faults()
    an_hour_ago = "UPDATE task_instance SET end_date = now() - interval '1 h' WHERE state = 'up_for_retry'"
    assert in_metadata(filled, an_hour_ago)
    assert filled.wait(run_id, PATIENCE_S) == "failed"
    once = of(SYNC_TASK, NAMES)
    assert processes(filled, run_id) == once + of(SYNC_TASK, ["canvas.users"])
    chosen = [[SYNC_TASK, index_of(filled, run_id, "canvas.roles")]]
    assert clear(filled, run_id, task_ids=chosen, only_failed=False, include_downstream=True) == "success"
    assert processes(filled, run_id) == once + of(SYNC_TASK, ["canvas.users", "canvas.roles"])


def waiting_for_retry(stack: Stack, run_id: str) -> set[tuple[str, int]]:
    instances = stack.api.task_instances(run_id)
    return {(i["state"], i["map_index"]) for i in instances if i["task_id"] == SYNC_TASK and i["map_index"] >= 0}
