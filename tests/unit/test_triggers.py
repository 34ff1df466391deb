"""The triggers: what they find out, what they hand to a worker, and what they skip."""

from __future__ import annotations

import asyncio
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from airflow.executors.workloads import TaskInstanceDTO
from airflow.triggers.base import TaskSkippedEvent

from cd2.replication.errors import TableFailure, WaitError
from cd2.replication.names import TableName
from cd2.replication.waits import Replicators, Waits
from cd2.tasks import triggers
from cd2.tasks.finding import Found
from cd2.tasks.triggers import InitTrigger, SyncTrigger
from cd2.tasks.verifying import VERIFY
from tests.unit.triggering import CURSOR, LISTED, USERS, Airflow, Dap

REPOSITORY = Path(__file__).parents[2]


def test_a_table_that_was_replicated_before_is_asked_for_its_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    dap = Dap()
    event = Airflow(LISTED).run(SyncTrigger("list_tables"), dap, monkeypatch)
    assert Found.from_json(event.payload) == Found("job-1", since=CURSOR.isoformat())
    assert dap.asked == [(USERS, CURSOR)]


CLEARED = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("try_number", "retried", "given_up"),
    [
        pytest.param(1, None, None, id="first"),
        pytest.param(2, 1, None, id="retried"),
        # By a person: the earlier try failed for good, or was ended while it waited, maybe after a retry.
        pytest.param(2, None, CLEARED, id="cleared"),
        pytest.param(4, 2, CLEARED, id="cleared while the retry waited"),
    ],
)
def test_only_a_person_who_clears_a_task_gives_up_a_job_that_is_not_done(
    try_number: int, retried: int | None, given_up: datetime | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's own id of a try tells when that began."""
    for trigger in (SyncTrigger("list_tables"), InitTrigger("list_tables", "sync")):
        dap = Dap()
        xcoms = LISTED | {("sync", 1): {"state": "needs_init"}, ("retried", 1): retried}
        id_ = UUID(int=(int(CLEARED.timestamp() * 1000) << 80) + (7 << 76) + (2 << 62))
        Airflow(xcoms).run(trigger, dap, monkeypatch, try_number=try_number, id=id_)
        assert dap.given_up == given_up


@pytest.mark.parametrize(("cursor", "full_refresh"), [(None, False), (CURSOR, True)])
def test_a_table_that_needs_an_init_is_not_asked_for_changes(
    cursor: datetime | None, full_refresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dap = Dap(cursor)
    event = Airflow(LISTED, {"full_refresh": full_refresh}).run(SyncTrigger("list_tables"), dap, monkeypatch)
    found = Found.from_json(event.payload)
    assert (found.needs_init, found.since) == (True, cursor.isoformat() if cursor else None)
    assert dap.asked == []


@pytest.mark.parametrize("error", [None, {"class": "ReinitRequired", "message": "DAP has reloaded the table."}])
def test_an_init_that_the_sync_demands_asks_for_a_snapshot(
    error: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dap = Dap()
    xcoms = LISTED | {("sync", 1): {"state": "needs_init", "error": error}}
    event = Airflow(xcoms).run(InitTrigger("list_tables", "sync"), dap, monkeypatch)
    assert Found.from_json(event.payload) == Found("job-1")
    assert dap.asked == [(USERS, None)]
    # Whose need was found by the sync itself counts for the daily limit.
    assert dap.requested is (error is None)


@pytest.mark.parametrize("synced", [None, {"state": "complete"}, {"state": "failed"}])
def test_an_init_that_nothing_demands_is_skipped_without_a_worker(
    synced: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dap = Dap()
    xcoms = LISTED | {("sync", 1): synced}
    assert isinstance(Airflow(xcoms).run(InitTrigger("list_tables", "sync"), dap, monkeypatch), TaskSkippedEvent)
    assert dap.asked == []


def test_a_failure_is_handed_to_a_worker_with_all_that_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = WaitError("DAP answered 429.", type="TooManyRequests", uuid="u-2", seconds=90.0)
    event = Airflow(LISTED).run(SyncTrigger("list_tables"), Dap(answer=failure), monkeypatch)
    error = Found.from_json(event.payload).error
    assert isinstance(error, WaitError)
    assert (error.message, error.type, error.uuid, error.seconds) == (
        "DAP answered 429.",
        "TooManyRequests",
        "u-2",
        90.0,
    )


def test_a_trigger_promises_no_retry_because_it_does_not_know_which_try_is_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = WaitError("DAP is maintained: it will be retried after 20 to 30 minutes.")
    for try_number in (1, 4):
        event = Airflow(LISTED).run(SyncTrigger("list_tables"), Dap(answer=away), monkeypatch, try_number=try_number)
        # The worker, which knows it, gets the sentence as it is.
        assert event.payload["error"]["message"] == away.message
    assert caplog.text.count("DAP is maintained: it is retried, unless this was the last try.") == 2
    assert "will be retried" not in caplog.text


@pytest.mark.parametrize("xcoms", [{}, {("list_tables", -1): ["canvas.roles"]}])
def test_a_table_that_the_list_no_longer_has_fails_with_what_to_do(
    xcoms: dict[tuple[str, int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Airflow(xcoms).run(SyncTrigger("list_tables"), Dap(), monkeypatch)
    error = Found.from_json(event.payload).error
    assert isinstance(error, TableFailure)
    assert "clear list_tables with its downstream tasks" in error.message


def test_what_the_metadata_database_keeps_of_a_trigger_is_names_of_tasks() -> None:
    for trigger, names in (
        (SyncTrigger("list_tables"), {"list_task_id"}),
        (InitTrigger("list_tables", "sync"), {"list_task_id", "sync_task_id"}),
    ):
        path, arguments = trigger.serialize()
        assert path == f"cd2.tasks.triggers.{type(trigger).__name__}"
        assert set(arguments) == names


def test_a_waiting_table_holds_less_than_a_megabyte_of_the_triggerer(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that Airflow keeps for its trigger: the DAG, the row, the context."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.to_dict(DagBag(REPOSITORY / "dags").dags["canvas_data_2"])
    now = datetime.now(UTC)
    run = {"dag_id": "canvas_data_2", "run_id": "one", "run_after": now, "start_date": now, "run_type": "manual"}
    run |= {"state": "running", "clear_number": 0, "consumed_asset_events": []}
    run |= dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key"))
    waits: asyncio.Queue[None] = asyncio.Queue()

    class Waiting(Dap):
        async def ask(self, table: TableName, since: datetime | None, **_: Any) -> str:
            waits.put_nowait(None)
            await asyncio.Event().wait()
            return ""

    async def pull(*arguments: Any) -> Any:
        return [USERS] if VERIFY not in arguments else None

    def waiting() -> asyncio.Task[Any]:
        trigger = SyncTrigger("list_tables")
        row = TaskInstanceDTO(
            id=uuid4(),
            dag_version_id=uuid4(),
            task_id="process_table.sync_table",
            dag_id="canvas_data_2",
            run_id="one",
            try_number=1,
            map_index=0,
            pool_slots=1,
            queue="default",
            priority_weight=1,
        )
        trigger.task_instance = TriggerRunner.create_runtime_ti(row, dag, run)  # type: ignore[assignment]
        return asyncio.ensure_future(anext(trigger.run()))

    async def held_by_each() -> float:
        tasks = [waiting()]
        await waits.get()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tasks += [waiting() for _ in range(20)]
        for _ in tasks[1:]:
            await waits.get()
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return held / 20

    replicators = Replicators(Waiting)  # type: ignore[arg-type]
    monkeypatch.setattr(triggers, "REPLICATORS", replicators)
    monkeypatch.setattr(triggers, "WAITS", Waits(replicators))
    monkeypatch.setattr(triggers._TableTrigger, "_pull", pull)
    assert 0 < asyncio.run(held_by_each()) < 1_000_000
