"""Of rows with one key the newest stays, whatever loads them and in whichever order they come."""

from __future__ import annotations

import pytest

from cd2.replication.load.staging import Staging
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

NAME = "canvas.repeated"


def repeat_an_older_row(simulator: SimulatorControl) -> None:
    """The next job has an older version of its third row after that row, as `web_logs` has."""
    simulator.fault("canvas", "repeated", "duplicate_key", row=2, older=True)


@pytest.mark.parametrize("columns", ["*id:i64 name:s50? score:i32?", "*id:i64 name:s50? tags:text[]?"])
def test_an_older_row_that_comes_last_does_not_replace_the_newest(
    columns: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """By an init, with and without arrays, a verification, a sync and a re-init."""
    simulator.add_table("canvas", "repeated", columns, 60)
    repeat_an_older_row(simulator)
    result = run(init(replicator, NAME))
    assert (result.action, result.rows_upserted) == ("init", 60)
    assert_equal(simulator, database, NAME)
    repeat_an_older_row(simulator)
    found = outcome(verify(replicator, NAME))
    assert (found.outcome, found.rows_compared) == ("equal", 60)
    simulator.advance(tables=[NAME], updates=20)
    repeat_an_older_row(simulator)
    run(sync(replicator, NAME))
    assert_equal(simulator, database, NAME)
    repeat_an_older_row(simulator)
    assert run(init(replicator, NAME)).rows_upserted == 0
    assert_equal(simulator, database, NAME)


def test_a_snapshot_without_repeated_keys_is_copied_straight_into_its_table(
    replicator: Replicator, simulator: SimulatorControl, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_staging(_: Staging) -> None:
        raise AssertionError("staged")

    monkeypatch.setattr(Staging, "create", no_staging)
    simulator.add_table("canvas", "repeated", "*id:i64 name:s50? score:i32?", 60)
    run(init(replicator, NAME))
    assert_equal(simulator, database, NAME)
