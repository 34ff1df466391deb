"""Asking DAP in steps: what was asked for is not asked for again, whoever goes on with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from cd2.replication.dap import jobs as asking
from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from local.simulator.control import SimulatorControl
from tests.replication.asked import NAME, NAMESPACE, TABLE, TABLE_NAME, behind, jobs
from tests.replication.replica import assert_equal, execute, run
from tests.replication.waiting import lost_when
from tests.steps import init, sync


@pytest.fixture
def replicator(replicator: Replicator, simulator: SimulatorControl) -> Replicator:
    """The table is loaded, and DAP has newer rows."""
    return behind(replicator, simulator)


def test_a_table_is_brought_up_to_date_in_steps(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    job_id = run(replicator.ask(TABLE_NAME, since))
    result = run(replicator.load(TABLE_NAME, job_id, "sync"))
    assert (result.action, result.state, result.job_id) == ("sync", "complete", job_id)
    assert_equal(simulator, database, NAME)


def test_whoever_asks_again_gets_the_job_that_is_there(replicator: Replicator, simulator: SimulatorControl) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    first = run(replicator.ask(TABLE_NAME, since))
    assert run(replicator.ask(TABLE_NAME, since)) == first
    assert jobs(simulator) == 1


def test_a_process_that_is_lost_while_the_job_runs_costs_no_second_one(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.job_seconds(0.2)
    since = run(replicator.cursor(TABLE_NAME))

    async def noted() -> bool:
        async with connected(target) as connection:
            return bool(await connection.fetchval("SELECT count(job_id) FROM cd2.jobs"))

    monkeypatch.setattr(asking, "POLL_S", (3600.0,))
    run(lost_when(replicator.ask(TABLE_NAME, since), noted))
    monkeypatch.setattr(asking, "POLL_S", (0.05,))
    job_id = run(replicator.ask(TABLE_NAME, since))
    assert jobs(simulator) == 1
    assert run(replicator.load(TABLE_NAME, job_id, "sync")).state == "complete"


def test_a_process_that_is_lost_while_it_waits_keeps_its_turn(
    replicator: Replicator, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def wait(_: object, seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(3600 if len(waits) == 1 else 0)

    async def waiting() -> bool:
        return bool(waits)

    run(replicator.pacer.reserve("data"))
    run(replicator.pacer.push_back("data", 600))
    monkeypatch.setattr(replicator.pacer, "wait", wait)
    since = run(replicator.cursor(TABLE_NAME))
    run(lost_when(replicator.ask(TABLE_NAME, since), waiting))
    before = execute(target, "SELECT next_turn FROM cd2.pacer WHERE endpoint = 'data'")
    run(replicator.ask(TABLE_NAME, since))
    assert execute(target, "SELECT next_turn FROM cd2.pacer WHERE endpoint = 'data'") == before
    # What is left of the turn, not a turn after it.
    assert 0 < waits[1] <= waits[0] <= 600


def test_a_job_that_was_loaded_is_not_loaded_again(replicator: Replicator, simulator: SimulatorControl) -> None:
    first = run(init(replicator, NAME))
    second = run(init(replicator, NAME))
    assert first.job_id != second.job_id


def test_changes_since_another_time_are_another_job(replicator: Replicator) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    first = run(replicator.ask(TABLE_NAME, since))
    assert run(replicator.ask(TABLE_NAME, None)) != first


def test_an_old_job_is_asked_for_anew(
    replicator: Replicator, target: DatabaseTarget, simulator: SimulatorControl
) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    run(replicator.ask(TABLE_NAME, since))
    execute(target, "UPDATE cd2.jobs SET turn = turn - interval '7 hours'")
    run(replicator.ask(TABLE_NAME, since))
    assert jobs(simulator) == 2


def test_a_job_that_is_gone_is_asked_for_anew(replicator: Replicator, target: DatabaseTarget) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    run(replicator.ask(TABLE_NAME, since))
    execute(target, "UPDATE cd2.jobs SET job_id = 'no-such-job'")
    assert run(replicator.ask(TABLE_NAME, since)) != "no-such-job"


def test_with_more_patience_a_storm_of_429_is_got_over(replicator: Replicator, simulator: SimulatorControl) -> None:
    simulator.fault(NAMESPACE, TABLE, "too_many_requests", times=12, retry_after=0)
    since = run(replicator.cursor(TABLE_NAME))
    assert run(replicator.ask(TABLE_NAME, since, tries=20))


def test_a_look_at_a_job_may_fail_now_and_then(
    replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "POLL_S", (0.05,))
    simulator.job_seconds(0.2)
    simulator.fault(NAMESPACE, TABLE, "server_error", times=3, endpoint="job", status=502)
    assert run(sync(replicator, NAME)).state == "complete"
    simulator.advance(0.1, [NAME])
    simulator.fault(NAMESPACE, TABLE, "server_error", times=50, endpoint="job", status=502)
    with pytest.raises(TransientError, match="502"):
        run(sync(replicator, NAME))


# -- freshness --------------------------------------------------------------------------------------


def freshness(database: str) -> tuple[datetime | None, datetime | None, datetime | None, str | None]:
    """checked_at, data_as_of, failing_since, error of the table."""
    with psycopg.connect(database) as connection:
        query = "SELECT checked_at, data_as_of, failing_since, error FROM cd2.freshness WHERE table_name = %s"
        [row] = connection.execute(query, [TABLE]).fetchall()
    return row


def test_freshness_tells_when_a_table_was_checked_and_what_it_holds(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    first = freshness(database)
    result = run(sync(replicator, NAME))
    checked_at, data_as_of, failing_since, error = freshness(database)
    assert checked_at is not None
    assert first[0] is not None
    assert checked_at > first[0]
    assert data_as_of == datetime.fromisoformat(result.data_as_of or "").astimezone(UTC)
    assert (failing_since, error) == (None, None)
    run(sync(replicator, NAME))
    again = freshness(database)
    assert again[0] is not None
    assert again[0] > checked_at
    assert again[1] == data_as_of


def test_freshness_tells_since_when_a_table_fails(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    before = freshness(database)
    simulator.fault(NAMESPACE, TABLE, "account_disabled", times=2)
    with pytest.raises(StopAll) as caught:
        run(sync(replicator, NAME))
    assert caught.value.result is not None
    assert caught.value.result.data_as_of is not None
    first = freshness(database)
    with pytest.raises(StopAll):
        run(sync(replicator, NAME))
    second = freshness(database)
    assert first[2] is not None
    assert first[2] == second[2]
    assert first[:2] == second[:2] == before[:2]
    assert "has disabled DAP" in (second[3] or "")
    run(sync(replicator, NAME))
    assert freshness(database)[2:] == (None, None)


def test_a_table_is_initialised_again_by_itself_once_a_day_only(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    simulator.fault(NAMESPACE, TABLE, "snapshot_required", times=2)
    assert run(sync(replicator, NAME)).state == "needs_init"
    job_id = run(replicator.ask(TABLE_NAME, None, requested=False))
    run(replicator.load(TABLE_NAME, job_id, "init", requested=False))
    with pytest.raises(TableFailure, match="trigger the DAG with this table and full_refresh"):
        run(sync(replicator, NAME))
    # A person may.
    assert run(init(replicator, NAME)).state == "initialized"
    execute(target, "UPDATE cd2.freshness SET reinitialized_at = reinitialized_at - interval '25 hours'")
    simulator.fault(NAMESPACE, TABLE, "snapshot_required")
    assert run(sync(replicator, NAME)).state == "needs_init"
    assert_equal(simulator, database, NAME)


@pytest.mark.parametrize("failure", ["failed_job", "missing_column", "request_type_forbidden"])
def test_a_re_init_that_failed_counts_for_the_daily_limit(
    failure: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    """Otherwise each run would ask for a snapshot again."""

    async def automatic_init() -> TableResult:
        try:
            job_id = await replicator.ask(TABLE_NAME, None, requested=False)
        except Cd2Error as error:
            return await replicator.failed(TABLE_NAME, "init", error)
        return await replicator.load(TABLE_NAME, job_id, "init", requested=False)

    simulator.fault(NAMESPACE, TABLE, "snapshot_required", times=3)
    assert run(sync(replicator, NAME)).state == "needs_init"
    simulator.fault(NAMESPACE, TABLE, failure)
    with pytest.raises(Cd2Error):
        run(automatic_init())
    for _ in range(2):
        with pytest.raises(TableFailure, match=r"DAP was already asked for one automatically at .* full_refresh"):
            run(sync(replicator, NAME))
    execute(target, "UPDATE cd2.freshness SET reinitialized_at = reinitialized_at - interval '25 hours'")
    simulator.fault(NAMESPACE, TABLE, "snapshot_required")
    assert run(sync(replicator, NAME)).state == "needs_init"
    assert run(automatic_init()).state == "initialized"


def test_a_snapshot_that_dap_was_not_asked_for_does_not_count(
    replicator: Replicator, simulator: SimulatorControl
) -> None:
    """The account was under maintenance: the next run may ask."""
    for _ in range(2):
        simulator.fault(NAMESPACE, TABLE, "snapshot_required")
        assert run(sync(replicator, NAME)).state == "needs_init"
        simulator.fault(NAMESPACE, TABLE, "account_under_maintenance")
        with pytest.raises(TransientError):
            run(replicator.ask(TABLE_NAME, None, requested=False))
