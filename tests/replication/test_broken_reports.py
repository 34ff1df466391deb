"""A broken view is reported once a day, and when its reason changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cd2.replication.bookkeeping import runs
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from cd2.replication.results import BrokenDependent
from cd2.tasks.reporting.replica import Questions, from_database
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, run
from tests.steps import init, sync

THINGS = "canvas.things"
VIEW, PART = "public.notes", "index canvas.things_note"
WHY = 'column "note" does not exist (SQLSTATE 42703).'


@pytest.fixture
def names(simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget) -> tuple[str, ...]:
    """What a sync calls broken: a view and an index, whose column DAP has dropped."""
    simulator.add_table("canvas", "things", "*id:i64 name:s50? note:s50?", rows=3)
    run(init(replicator, THINGS))
    execute(target, "CREATE VIEW public.notes AS SELECT id, note FROM canvas.things")
    execute(target, "CREATE INDEX things_note ON canvas.things (upper(note))")
    simulator.alter("canvas", "things", "drop_column", "note")
    simulator.advance(tables=[THINGS], updates=1)
    found = run(sync(replicator, THINGS)).dependents.broken
    assert set(found) == {VIEW, PART}
    return found


def told(replicator: Replicator, reporter: str, names: tuple[str, ...]) -> list[str]:
    return [dependent.name for dependent in run(runs.report_broken(replicator.replica, reporter, names))]


def days_pass(target: DatabaseTarget, hours: float) -> None:
    execute(target, f"UPDATE cd2.broken_dependents SET reported_at = reported_at - interval '{hours} hours'")


def test_it_is_told_of_once_a_day_with_why_and_since_when(
    names: tuple[str, ...], replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, "ALTER DATABASE " + target.dbname + " SET timezone = 'Asia/Tokyo'")
    first = run(runs.report_broken(replicator.replica, "monday 3", names))
    by_name = {dependent.name: dependent for dependent in first}
    assert set(by_name) == {VIEW, PART}
    assert by_name[VIEW].error == WHY
    since = by_name[VIEW].since
    assert since is not None
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=10)
    # A retry of the same message tells the same; the next run and a re-run do not.
    assert told(replicator, "monday 3", names) == [dependent.name for dependent in first]
    assert told(replicator, "tuesday 3", names) == []
    assert told(replicator, "monday 7", names) == []
    # Some minutes less than a day later, because a run may be quicker than that of the day before.
    days_pass(target, 22.5)
    assert told(replicator, "tuesday 3", names) == []
    days_pass(target, 1.2)
    assert set(told(replicator, "wednesday 3", names)) == {VIEW, PART}
    assert told(replicator, "thursday 3", names) == []


def test_another_reason_is_told_of_at_once(
    names: tuple[str, ...], simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    assert len(told(replicator, "one", names)) == 2
    # Each sync tries again, and fails for the same reason.
    simulator.advance(tables=[THINGS], updates=1)
    assert set(run(sync(replicator, THINGS)).dependents.broken) == {VIEW, PART}
    assert told(replicator, "two", names) == []
    execute(target, "UPDATE cd2.broken_dependents SET error = 'out of luck' WHERE view_name = 'notes'")
    (changed,) = run(runs.report_broken(replicator.replica, "three", names))
    assert (changed.name, changed.error) == (VIEW, "out of luck")
    assert told(replicator, "four", names) == []


def test_only_what_the_results_of_a_run_name_is_told_of(names: tuple[str, ...], replicator: Replicator) -> None:
    assert told(replicator, "one", (VIEW,)) == [VIEW]
    assert told(replicator, "two", names) == [PART]


def test_what_breaks_again_is_told_of_again(
    names: tuple[str, ...], simulator: SimulatorControl, replicator: Replicator
) -> None:
    assert len(told(replicator, "one", names)) == 2
    for change in ("add_column", "drop_column"):
        simulator.alter("canvas", "things", change, "note", **({"type": "s50"} if change == "add_column" else {}))
        simulator.advance(tables=[THINGS], updates=1)
        result = run(sync(replicator, THINGS))
    assert set(result.dependents.broken) == {VIEW, PART}
    assert set(told(replicator, "two", names)) == {VIEW, PART}


def test_the_report_of_a_run_goes_on_without_the_journal(
    names: tuple[str, ...], replicator: Replicator, target: DatabaseTarget, caplog: pytest.LogCaptureFixture
) -> None:
    due = from_database(lambda: replicator, Questions(None, "one 3", names))[2]
    assert due is not None
    assert all(isinstance(dependent, BrokenDependent) for dependent in due)
    assert len(due) == 2
    assert from_database(lambda: replicator, Questions(None, "one 3", ()))[2] == ()
    execute(target, "DROP TABLE cd2.broken_dependents")
    fresh, _, due = from_database(lambda: replicator, Questions(None, "two 3", names))
    assert due is None
    assert fresh
    assert "why dependents are broken" in caplog.text


def test_a_database_of_an_earlier_version_gets_the_columns(
    names: tuple[str, ...], replicator: Replicator, target: DatabaseTarget
) -> None:
    for column in ("reported_at", "reported_by", "reported_error"):
        execute(target, f"ALTER TABLE cd2.broken_dependents DROP COLUMN {column}")
    before = fetch(target, "SELECT * FROM cd2.broken_dependents ORDER BY id")
    run(replicator.prepare(["canvas"]))
    run(replicator.prepare(["canvas"]))
    assert [tuple(row)[:-3] for row in fetch(target, "SELECT * FROM cd2.broken_dependents ORDER BY id")] == [
        tuple(row) for row in before
    ]
    assert len(told(replicator, "one", names)) == 2
