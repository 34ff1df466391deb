"""The trigger: what it hands back, and what stops the tables of a run together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cd2.replication.errors import Cd2Error, StopAll, TransientError
from cd2.replication.names import TableName
from cd2.tasks import triggers
from cd2.tasks.triggers import JobTrigger, job_of

REFUSED = StopAll("DAP refused the credentials.", type="AuthenticationError", uuid="u-1")
Answer = Callable[[], Awaitable[str]]


class Dap:
    """Stands where the replicator does: what asking for a table comes to."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, table: TableName, since: Any, *, tries: int) -> str:
        self.asked.append(table.table)
        return await self.answers[table.table]()


def waiting() -> Answer:
    async def wait() -> str:
        await asyncio.sleep(600)
        return "late"

    return wait


def after(seconds: float, outcome: str | Cd2Error) -> Answer:
    async def end() -> str:
        await asyncio.sleep(seconds)
        if isinstance(outcome, Cd2Error):
            raise outcome
        return outcome

    return end


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the triggers of tables side by side: by table, the event of each."""

    def run(dap: Dap, tables: dict[str, str], settle_s: float = 0.0) -> dict[str, Any]:
        async def all_of_them() -> dict[str, Any]:
            async def one(table: str, run_key: str) -> Any:
                async for event in JobTrigger(f"canvas.{table}", None, run_key).run():
                    return event.payload
                raise AssertionError("no event")

            async with asyncio.timeout(120):
                done = await asyncio.gather(*(one(table, key) for table, key in tables.items()))
            return dict(zip(tables, done, strict=True))

        async def shared() -> Dap:
            return dap

        monkeypatch.setattr(triggers.REPLICATOR, "get", shared)
        monkeypatch.setattr(triggers, "_settle_s", lambda: settle_s)
        return asyncio.run(all_of_them())

    return run


def test_a_job_that_is_done_is_handed_back(events: Callable[..., dict[str, Any]]) -> None:
    assert job_of(events(Dap({"users": after(0, "job-1")}), {"users": "one 0"})["users"]) == "job-1"


def test_a_task_does_not_come_back_before_airflow_knows_that_it_went_away(
    events: Callable[..., dict[str, Any]],
) -> None:
    began = time.monotonic()
    events(Dap({"users": after(0, "job-1")}), {"users": "five 0"}, settle_s=0.5)
    assert time.monotonic() - began >= 0.5


def test_a_failure_is_handed_back_with_all_that_it_tells(events: Callable[..., dict[str, Any]]) -> None:
    failure = TransientError("DAP answered 503.", type="Unavailable", uuid="u-2")
    event = events(Dap({"users": after(0, failure)}), {"users": "two 0"})["users"]
    with pytest.raises(TransientError, match="503") as caught:
        job_of(event)
    assert (caught.value.type, caught.value.uuid) == ("Unavailable", "u-2")


def test_what_every_table_would_meet_ends_the_waits_of_the_run_and_of_no_other(
    events: Callable[..., dict[str, Any]],
) -> None:
    dap = Dap({"roles": after(0.1, REFUSED), "users": waiting(), "courses": after(0.5, "job-3")})
    ended = events(dap, {"roles": "three 0", "users": "three 0", "courses": "another 0"})
    for table in ("roles", "users"):
        with pytest.raises(StopAll, match="refused the credentials"):
            job_of(ended[table])
    assert job_of(ended["courses"]) == "job-3"


def test_a_table_that_comes_after_the_stop_does_not_ask_until_the_run_is_cleared(
    events: Callable[..., dict[str, Any]],
) -> None:
    events(Dap({"roles": after(0, REFUSED)}), {"roles": "four 0"})
    dap = Dap({"users": after(0, "job-4")})
    with pytest.raises(StopAll):
        job_of(events(dap, {"users": "four 0"})["users"])
    assert dap.asked == []
    assert job_of(events(dap, {"users": "four 1"})["users"]) == "job-4"


def test_what_the_metadata_database_keeps_of_a_trigger_is_names_and_a_time() -> None:
    path, arguments = JobTrigger("canvas.users", "2026-11-24T00:00:00+00:00", "canvas_data_2 manual 0").serialize()
    assert path == "cd2.tasks.triggers.JobTrigger"
    assert set(arguments) == {"table", "since", "run"}
