"""What happens between the two questions of a verification and its comparison, and when one of them fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.errors import TableFailure, TransientError, WaitError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from cd2.replication.verification import questions
from cd2.replication.verification.verifier import Verifier
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

NAME = "canvas.moving"


@pytest.fixture
def table(simulator: SimulatorControl, replicator: Replicator) -> str:
    """A replicated table."""
    simulator.add_table("canvas", "moving", "*id:i64 name:s50? score:i32?", 300)
    run(init(replicator, NAME))
    return NAME


def test_an_old_snapshot_that_is_served_again_is_compared_exactly(
    table: str, replicator: Replicator, simulator: SimulatorControl
) -> None:
    outcome(verify(replicator, table))
    simulator.advance(tables=[table], inserts=20, updates=20, deletes=20)
    run(sync(replicator, table))
    simulator.advance(tables=[table], inserts=5, updates=5, deletes=5)
    simulator.fault("canvas", "moving", "old_snapshot")
    found = outcome(verify(replicator, table))
    assert found.outcome == "equal"
    assert found.rows_left_out >= 60


def test_a_change_that_is_made_while_the_table_is_verified_is_no_difference(
    table: str, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between snapshot and changes: those keys are left out."""

    async def work() -> TableResult:
        name = TableName.parse(table)
        cursor = await replicator.cursor(name)
        assert cursor
        ask = questions.ask_for_both

        async def with_changes(asks: Any, *rest: Any) -> Any:
            async def moved(since: datetime | None) -> Any:
                job = await asks(since)
                if since is None:
                    simulator.advance(tables=[table], inserts=9, updates=8, deletes=7)
                return job

            return await ask(moved, *rest)

        monkeypatch.setattr(questions, "ask_for_both", with_changes)
        jobs = await Verifier(replicator).ask(name, cursor, tries=3, place=None)
        return await Verifier(replicator).verify(name, *jobs)

    found = outcome(run(work()))
    assert found.outcome == "equal"
    assert found.rows_left_out >= 24
    assert found.rows_compared <= 300 - 15


def test_what_dap_says_about_time_is_awaited_once_and_then_told(
    table: str, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that end before the snapshot: DAP's clock stands there for incrementals."""
    monkeypatch.setattr(questions, "LATER_S", 0.01)
    behind = [2]

    async def work() -> tuple[str, str]:
        name = TableName.parse(table)
        cursor = await replicator.cursor(name)
        assert cursor
        ask = questions.ask_for_both

        async def standing(asks: Any, *rest: Any) -> Any:
            async def late(since: datetime | None) -> Any:
                job = await asks(since)
                if since is None or not behind[0]:
                    return job
                behind[0] -= 1
                return replace(job, as_of=job.as_of - timedelta(hours=1))

            return await ask(late, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(questions, "ask_for_both", standing)
            return await Verifier(replicator).ask(name, cursor, tries=3, place=None)

    with pytest.raises(WaitError, match=r"DAP's changes end at .*, before its snapshot as of"):
        run(work())
    snapshots = simulator.stats()["jobs"][table]
    behind[0] = 1
    assert all(run(work()))
    # The snapshot of the first attempt is used: only changes were asked for.
    assert simulator.stats()["jobs"][table] == snapshots + 2


def test_changes_that_end_before_the_table_are_awaited(
    table: str, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DAP's clock was set back, and an old snapshot is served: what the table has since then, they do not name."""
    monkeypatch.setattr(questions, "LATER_S", 0.01)
    outcome(verify(replicator, table))
    simulator.advance(tables=[table], updates=20)
    run(sync(replicator, table))
    name = TableName.parse(table)
    behind = timedelta(hours=4)

    async def work() -> tuple[Any, Any]:
        cursor = await replicator.cursor(name)
        assert cursor
        place = (replicator.pacer.key, name)

        async def ask(since: datetime | None) -> Any:
            async with replicator.session() as session:
                job = await session.job(await replicator.ask(name, since))
            return replace(job, as_of=cursor - behind + timedelta(hours=1 if since else 0))

        async def look(_: str) -> Any:
            return await ask(None)

        return await questions.ask_for_both(ask, look, replicator.replica, place, cursor)

    with pytest.raises(WaitError, match=r"DAP's changes end at .*, before the table as of"):
        run(work())


async def ask_for_both(replicator: Replicator, table: TableName) -> tuple[str, str]:
    """Ask for a snapshot and for the changes since the cursor, as a trigger does."""
    cursor = await replicator.cursor(table)
    assert cursor
    return await Verifier(replicator).ask(table, cursor, tries=3, place=None)


def test_a_snapshot_that_waits_is_used_by_the_next_attempt(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    name = TableName.parse(table)
    snapshot, _ = run(ask_for_both(replicator, name))
    simulator.advance(tables=[table], inserts=5, updates=5, deletes=5)
    # A sync of another run in between moves the cursor beyond the snapshot.
    run(sync(replicator, table))
    again, changes = run(ask_for_both(replicator, name))
    assert again == snapshot
    assert outcome(run(Verifier(replicator).verify(name, again, changes))).outcome == "equal"
    assert run(ask_for_both(replicator, name))[0] != snapshot


def test_a_cursor_that_another_process_moves_meanwhile_postpones_the_comparison(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    name = TableName.parse(table)
    snapshot, changes = run(ask_for_both(replicator, name))
    simulator.advance(tables=[table], inserts=5)
    execute(target, "DELETE FROM cd2.jobs")  # as if it had another DAP key
    run(sync(replicator, table))
    with pytest.raises(TransientError, match="another process has moved its cursor"):
        run(Verifier(replicator).verify(name, snapshot, changes))
    assert execute(target, "SELECT job_id FROM cd2.verifying") == snapshot


def test_a_schema_that_changes_meanwhile_postpones_the_comparison_and_not_the_sync(
    table: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    name = TableName.parse(table)

    async def work() -> TableResult:
        cursor = await replicator.cursor(name)
        assert cursor
        snapshot, _ = await Verifier(replicator).ask(name, cursor, tries=3, place=None)
        async with connected(target) as connection:
            await connection.execute("DELETE FROM cd2.jobs")
        simulator.alter("canvas", "moving", "add_column", "late", type="s20", backfill=True)
        return await Verifier(replicator).verify(name, snapshot, await replicator.ask(name, cursor))

    result = run(work())
    found = outcome(result)
    assert (result.state, found.outcome) == ("complete_with_schema_update", "postponed")
    assert "its schema has just changed" in str(found)
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"
    assert_equal(simulator, database, table)
    assert outcome(verify(replicator, table)).outcome == "equal"


def test_a_broken_snapshot_fails_only_who_asked_for_it(
    table: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.advance(tables=[table], inserts=5)
    simulator.fault("canvas", "moving", "missing_column", column="score")
    found = outcome(verify(replicator, table, requested=False))
    assert found.outcome == "postponed"
    assert "lacks score" in str(found)
    assert_equal(simulator, database, table)
    simulator.fault("canvas", "moving", "missing_column", column="score")
    with pytest.raises(TableFailure, match="lacks score") as caught:
        verify(replicator, table)
    assert caught.value.result is not None
    assert caught.value.result.action == "sync"


def test_an_increment_that_dap_no_longer_has_leads_to_a_new_init(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.fault("canvas", "moving", "snapshot_required")
    assert verify(replicator, table).state == "needs_init"
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"


def test_an_old_snapshot_whose_changes_are_gone_is_told_and_initializes_nothing(
    table: str, replicator: Replicator, simulator: SimulatorControl
) -> None:
    outcome(verify(replicator, table))
    simulator.advance(tables=[table], inserts=5)
    run(sync(replicator, table))
    simulator.fault("canvas", "moving", "old_snapshot")
    simulator.fault("canvas", "moving", "out_of_range")
    with pytest.raises(TableFailure, match="DAP served an old snapshot"):
        verify(replicator, table)
