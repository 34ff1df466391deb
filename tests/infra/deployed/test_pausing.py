"""A deployment does not stop running tasks: the DAG rests while MWAA is updated."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.stack import Stack
from scripts.mwaa import DAG_ID, Mwaa, MwaaError
from scripts.pausing import paused
from tests.e2e.story import jobs_held_back
from tests.infra.json_server import Answer
from tests.infra.mwaa_api import NAME, MwaaApi, serving

pytestmark = pytest.mark.infra

REGION = "eu-central-1"
TABLE = {"namespaces": ["canvas"], "tables": ["users"]}


@pytest.fixture
def api(stack: Stack) -> MwaaApi:
    return MwaaApi(stack.ui, stack.folder.secret("airflow_admin"))


@pytest.fixture
def mwaa(api: MwaaApi, moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mwaa]:
    with serving(api) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.lower(), value)
        yield Mwaa(NAME, REGION, retry_delay_s=0.1)


def is_paused(stack: Stack) -> bool:
    return bool((stack.api.dag() or {})["is_paused"])


def running_runs(stack: Stack) -> list[str]:
    runs = stack.api.call("GET", f"/dags/{DAG_ID}/dagRuns", params={"state": "running"})["dag_runs"]
    return [run["dag_run_id"] for run in runs]


def states(stack: Stack, run_id: str) -> dict[str, str]:
    found = stack.api.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]
    return {each["task_id"]: str(each["state"]) for each in found}


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_update_begins_when_no_run_is_running_and_no_new_one_begins_meanwhile(stack: Stack, mwaa: Mwaa) -> None:
    said: list[str] = []
    updating, done = threading.Event(), threading.Event()

    def update() -> None:
        with paused(mwaa, 60, said.append, interval_s=0.2):
            updating.set()
            assert done.wait(1200)

    thread = threading.Thread(target=update)
    try:
        with jobs_held_back(stack):
            running = stack.trigger(TABLE)
            wait_for(lambda: running_runs(stack) == [running])
            thread.start()
            wait_for(lambda: said == [f"waiting for the run {running} (at most 60 minutes)"])
            # Otherwise the run would never end.
            assert not is_paused(stack)
            assert not updating.is_set()
        assert stack.wait(running) == "success"
        assert updating.wait(600)
        assert is_paused(stack)
        later = stack.trigger(TABLE)
    finally:
        done.set()
        thread.join(600)
    assert not is_paused(stack)
    assert stack.wait(later) == "success"
    assert said[1:] == [f"{DAG_ID} is paused during the update", f"{DAG_ID} is unpaused again"]


def test_a_run_that_takes_too_long_stops_the_deployment_and_not_the_run(stack: Stack, mwaa: Mwaa) -> None:
    with jobs_held_back(stack):
        running = stack.trigger(TABLE)
        wait_for(lambda: running_runs(stack) == [running])
        with (
            pytest.raises(
                MwaaError, match=rf"{re.escape(running)} is still running .*WAIT=240.*WAIT=0.* Nothing was changed"
            ),
            paused(mwaa, 0.001, interval_s=0.1),
        ):
            pytest.fail("it was updated")
        assert not is_paused(stack)
    assert stack.wait(running) == "success"


def test_a_dag_that_a_person_paused_stays_paused_and_its_run_which_cannot_end_is_not_waited_for(
    stack: Stack, mwaa: Mwaa
) -> None:
    with jobs_held_back(stack):
        run = stack.trigger(TABLE)
        wait_for(lambda: states(stack, run).get("process_table.sync_table") == "deferred")
        mwaa.pause(True)
        try:
            with paused(mwaa, 60, interval_s=0.2):
                assert running_runs(stack) == [run]
            assert is_paused(stack)
        finally:
            mwaa.pause(False)
    assert stack.wait(run) == "success"


def test_without_waiting_airflow_is_not_asked(stack: Stack, mwaa: Mwaa) -> None:
    with paused(mwaa, 0):
        assert not is_paused(stack)


def test_an_airflow_that_cannot_be_asked_says_how_to_update_all_the_same(api: MwaaApi, mwaa: Mwaa) -> None:
    api.refusals = [(403, "AccessDeniedException", {"Message": "User: x is not authorized"})]
    with pytest.raises(MwaaError, match=r"cannot be paused before the update\. With WAIT=0"), paused(mwaa, 30):
        pytest.fail("it was updated")


def test_an_environment_without_a_working_airflow_is_updated_at_once(api: MwaaApi, mwaa: Mwaa) -> None:
    """Otherwise nothing could repair it."""
    api.environment["Status"] = "CREATE_FAILED"
    with paused(mwaa, 30):
        assert api.calls == []


class Scripted(MwaaApi):
    """An Airflow whose run is running for as long as `running` says, one entry for each time it is asked."""

    def __init__(self, running: list[str | None]) -> None:
        super().__init__()
        self.running, self.paused, self.told = running, False, ["unpaused"]

    def _invoke(self, request: dict[str, Any]) -> Answer:
        body: dict[str, Any] = {"is_paused": self.paused}
        if request["Method"] == "PATCH":
            self.paused = request["Body"]["is_paused"]
            self.told.append("paused" if self.paused else "unpaused")
        elif request["Path"].endswith("/dagRuns"):
            assert request["QueryParameters"]["state"] == "running"
            run = self.running.pop(0)
            body = {"dag_runs": [{"dag_run_id": run}] if run else []}
        return 200, "", {"RestApiStatusCode": 200, "RestApiResponse": body}


@pytest.mark.parametrize(
    ("running", "told"),
    [
        ([None, None], ["paused", "unpaused"]),
        (["first", "first", None, None], ["paused", "unpaused"]),
        # The second begins between the question and the pause.
        (["first", None, "second", "second", None, None], ["paused", "unpaused", "paused", "unpaused"]),
    ],
)
def test_a_run_that_begins_at_the_last_moment_is_waited_for_too(
    moto: str, monkeypatch: pytest.MonkeyPatch, running: list[str | None], told: list[str]
) -> None:
    api = Scripted(running)
    with serving(api) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.lower(), value)
        with paused(Mwaa(NAME, REGION), 60, interval_s=0.01):
            assert api.told == ["unpaused", *told[:-1]]
            assert api.running == []
    assert api.told == ["unpaused", *told]
