"""Tables wait in the triggerer: nothing is lost or asked for twice when it, or a worker, goes away."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from local.stack import Stack
from tests.e2e.conftest import NAMES
from tests.e2e.test_stories import CONF, assert_equal_to_the_truth

pytestmark = pytest.mark.slow


def sync_states(stack: Stack, run_id: str) -> list[str | None]:
    instances = stack.api.task_instances(run_id)
    return [i["state"] for i in instances if i["task_id"] == "process_table.sync_table" and i["map_index"] >= 0]


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_triggerer_that_is_killed_while_tables_wait_costs_no_second_job(filled: Stack) -> None:
    filled.simulator.advance(0.2, NAMES)
    filled.simulator.reset_stats()
    filled.simulator.job_seconds(20)
    try:
        run_id = filled.trigger(CONF)
        wait_for(lambda: sum(filled.simulator.stats()["jobs"].values()) == len(NAMES))
        assert set(sync_states(filled, run_id)) == {"deferred"}
        filled.supervisor.kill("triggerer")
        filled.restart("triggerer")
        assert filled.wait(run_id, 240) == "success"
    finally:
        filled.simulator.job_seconds(0)
    assert filled.simulator.stats()["jobs"] == dict.fromkeys(NAMES, 1)
    assert_equal_to_the_truth(filled)


def test_each_table_that_changed_is_an_asset_that_changed(filled: Stack) -> None:
    before = {event["id"] for event in _events(filled)}
    filled.simulator.advance(0.3, ["canvas.users"])
    assert filled.wait(filled.trigger(CONF), 240) == "success"
    new = [event for event in _events(filled) if event["id"] not in before]
    assert [event["uri"] for event in new] == ["cd2://canvas/users"]


def _events(stack: Stack) -> list[dict[str, object]]:
    events: list[dict[str, object]] = stack.api.call("GET", "/assets/events", params={"limit": 500})["asset_events"]
    return events
