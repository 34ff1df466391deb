"""Jobs that hang, are gone, or would fail again are given up for new ones; and what a failure says about a retry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cd2.replication.dap import jobs as asking
from cd2.replication.dap.session import DapSession
from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.errors import FailedJobError, TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.asked import NAME, NAMESPACE, TABLE, TABLE_NAME, behind, jobs
from tests.replication.replica import assert_equal, execute, run
from tests.replication.waiting import lost_when
from tests.steps import sync


@pytest.fixture
def replicator(replicator: Replicator, simulator: SimulatorControl) -> Replicator:
    """The table is loaded, and DAP has newer rows."""
    return behind(replicator, simulator)


@pytest.fixture
def hung(replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget) -> datetime:
    """The table's job hangs, and nobody waits for it any more: when it was asked for."""
    simulator.fault(NAMESPACE, TABLE, "hung_job")
    since = run(replicator.cursor(TABLE_NAME))

    async def noted() -> bool:
        async with connected(target) as connection:
            return bool(await connection.fetchval("SELECT count(job_id) FROM cd2.jobs"))

    run(lost_when(replicator.ask(TABLE_NAME, since), noted))
    assert jobs(simulator) == 1
    return datetime.fromisoformat(execute(target, "SELECT turn FROM cd2.jobs"))


def test_a_cleared_task_asks_anew_instead_of_waiting_for_a_job_that_hangs(
    hung: datetime, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    job_id = run(replicator.ask(TABLE_NAME, since, given_up=hung + timedelta(milliseconds=1)))
    assert jobs(simulator) == 2
    assert run(replicator.load(TABLE_NAME, job_id, "sync")).state == "complete"
    assert_equal(simulator, database, NAME)


def test_a_job_that_shows_no_end_after_half_an_hour_is_asked_for_anew_by_a_retry_or_a_new_run(
    hung: datetime, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    execute(target, f"UPDATE cd2.jobs SET turn = turn - interval '{asking.UNFINISHED_LIFE_S} seconds'")
    assert run(sync(replicator, NAME)).state == "complete"
    assert jobs(simulator) == 2


def test_a_younger_job_is_waited_for_by_a_retry_and_by_a_restarted_triggerer(
    hung: datetime, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cleared before the job was asked for says nothing about the job."""
    monkeypatch.setattr(asking, "CHANGES_DEADLINE_S", 0.3)
    monkeypatch.setattr(asking, "POLL_S", (0.05,))
    since = run(replicator.cursor(TABLE_NAME))
    for given_up in (None, hung - timedelta(milliseconds=1)):
        with pytest.raises(TransientError, match="is not done after"):
            run(replicator.ask(TABLE_NAME, since, given_up=given_up))
    assert jobs(simulator) == 1


def test_a_cleared_task_uses_a_job_that_is_done(replicator: Replicator, simulator: SimulatorControl) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    first = run(replicator.ask(TABLE_NAME, since))
    assert run(replicator.ask(TABLE_NAME, since, given_up=datetime.now(UTC) + timedelta(hours=1))) == first
    assert jobs(simulator) == 1


def test_a_job_that_is_gone_when_it_is_to_be_loaded_is_replaced_by_the_retry(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    run(replicator.ask(TABLE_NAME, since))
    execute(target, "UPDATE cd2.jobs SET job_id = 'no-such-job'")
    with pytest.raises(FailedJobError, match=r"DAP no longer has the job .*the retry asks for a new one") as caught:
        run(replicator.load(TABLE_NAME, "no-such-job", "sync"))
    assert caught.value.uuid
    assert execute(target, "SELECT count(*) FROM cd2.jobs") == "0"
    assert run(sync(replicator, NAME)).state == "complete"
    assert jobs(simulator) == 2


def test_an_object_that_is_gone_is_replaced_by_a_new_job(
    replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    job_id = run(replicator.ask(TABLE_NAME, since))

    async def urls(session: DapSession, _: object) -> dict[str, str]:
        return await real(session, [f"{job_id}/no-such-object"])

    real = DapSession.urls
    monkeypatch.setattr(DapSession, "urls", urls)
    with pytest.raises(FailedJobError, match="DAP no longer has the object"):
        run(replicator.load(TABLE_NAME, job_id, "sync"))
    monkeypatch.undo()
    assert run(sync(replicator, NAME)).state == "complete"
    assert jobs(simulator) == 2


def test_a_job_whose_data_would_fail_again_is_not_taken_up(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.fault(NAMESPACE, TABLE, "malformed_value")
    with pytest.raises(TableFailure):
        run(sync(replicator, NAME))
    assert execute(target, "SELECT count(*) FROM cd2.jobs") == "0"
    assert run(sync(replicator, NAME)).state == "complete"
    assert jobs(simulator) == 2


def test_a_namespace_or_a_table_that_dap_does_not_have_is_named(replicator: Replicator) -> None:
    with pytest.raises(TableFailure, match=r"DAP has no namespace nowhere, .*correct \[cd2\] namespaces"):
        run(replicator.list_tables("nowhere"))
    with pytest.raises(TableFailure, match=r"^canvas\.nothing: DAP does not have the table nothing"):
        run(replicator.ask(TableName(NAMESPACE, "nothing"), None))


@pytest.mark.parametrize("last_try", [False, True])
def test_only_a_failure_that_is_retried_says_so(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, last_try: bool
) -> None:
    since = run(replicator.cursor(TABLE_NAME))
    simulator.fault(NAMESPACE, TABLE, "corrupt_object", times=2)
    job_id = run(replicator.ask(TABLE_NAME, since))
    with pytest.raises(TransientError) as caught:
        run(replicator.load(TABLE_NAME, job_id, "sync", last_try=last_try))
    with pytest.raises(TransientError) as handed_on:
        run(replicator.failed(TABLE_NAME, "sync", TransientError("It is away: it will be retried."), last_try=last_try))
    for failure in (caught.value, handed_on.value):
        assert failure.result is not None
        assert failure.result.error is not None
        for told in (failure.message, str(failure), failure.result.error.message):
            assert ("will be retried" in told) is not last_try
            assert ("No retry is left" in told or "no retry is left" in told) is last_try
    assert execute(target, "SELECT error FROM cd2.freshness") == handed_on.value.message
