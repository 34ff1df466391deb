"""A table that changes heavily while it is verified gives no false difference, and real damage is still found."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from cd2.replication.verification import questions
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run
from tests.replication.verifying import differences
from tests.steps import init, sync, verify

TABLE = "canvas.busy"
COLUMNS = (
    "*left_id:i64 *right_id:i64 name:text? kind:enum(a|b|c)? tags:text[]? settings:json? ratio:f64? points:num(8,2)?"
)
RUNS = 50


def change(simulator: SimulatorControl, dice: random.Random) -> None:
    kinds = {kind: dice.choice((0, dice.randint(1, 60))) for kind in ("inserts", "updates", "deletes")}
    simulator.advance(tables=[TABLE], **kinds)


async def one_run(
    replicator: Replicator,
    simulator: SimulatorControl,
    dice: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    *,
    repair: bool,
) -> Any:
    """Verify, while the table changes before and after each question and all the time in between."""
    ask = questions.ask_for_both
    over = asyncio.Event()

    async def keep_changing() -> None:
        while not over.is_set():
            await asyncio.to_thread(change, simulator, dice)
            await asyncio.sleep(dice.random() * 0.02)

    async def with_changes(asks: Any, *rest: Any) -> Any:
        async def moved(since: datetime | None) -> Any:
            job = await asks(since)
            await asyncio.to_thread(change, simulator, dice)
            return job

        return await ask(moved, *rest)

    changing = asyncio.create_task(keep_changing())
    try:
        with monkeypatch.context() as patch:
            patch.setattr(questions, "ask_for_both", with_changes)
            return (await verify(replicator, TABLE, repair=repair)).verification
    finally:
        over.set()
        await changing


@pytest.mark.slow
def test_fifty_verifications_of_a_moving_table_find_no_difference_but_damage(
    simulator: SimulatorControl,
    target: DatabaseTarget,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator.add_table("canvas", "busy", COLUMNS, 600)
    replicator = make_replicator(simulator, target, max_shrink=100)
    run(init(replicator, TABLE))
    left_out = repaired = equal = 0
    for seed in range(RUNS):
        dice = random.Random(seed)
        damaged = None
        if dice.random() < 0.3:
            run(sync(replicator, TABLE))
        if dice.random() < 0.3:
            simulator.fault("canvas", "busy", "old_snapshot")
        if seed % 5 == 4:
            # Unless a change touches the damaged row meanwhile, it is the only difference.
            run(sync(replicator, TABLE))
            left, right = dice.choice(fetch(target, f"SELECT left_id, right_id FROM {TABLE} ORDER BY 1, 2"))
            execute(target, f"DELETE FROM {TABLE} WHERE (left_id, right_id) = ({left}, {right})")
            damaged = f'{{"left_id": {left}, "right_id": {right}}}'
        found = run(one_run(replicator, simulator, dice, monkeypatch, repair=damaged is not None))
        noted = differences(database, TABLE)
        if damaged is None:
            # If an old snapshot is served again, each of its rows may have changed since.
            outcome = "equal" if found.rows_compared else "postponed"
            assert (found.outcome, found.differences) == (outcome, 0), (seed, found, noted)
            equal += found.outcome == "equal"
        else:
            assert set().union(*noted.values()) <= {damaged}, (seed, found, noted)
            repaired += found.differences
        left_out += found.rows_left_out
    assert left_out > RUNS
    assert equal > RUNS / 2
    assert repaired > 0
    simulator.clear_faults()
    assert run(verify(replicator, TABLE, repair=True)).verification is not None
    assert_equal(simulator, database, TABLE)
