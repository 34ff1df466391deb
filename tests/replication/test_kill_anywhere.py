"""A loading process is killed anywhere: at any message to PostgreSQL, at any moment. Nothing is lost or half done."""

from __future__ import annotations

import random
import time

import pytest

from tests.replication.replica import run
from tests.replication.victims import World
from tests.steps import sync

ALL_CHANGES = ("add", "widen", "drop", "retype", "require", "narrow", "delete")
ROUNDS = ("sync", "init", "reinit")


def ready(world: World, kind: str, changes: tuple[str, ...]) -> tuple[str, str]:
    """What to do for a round, and to which table."""
    if kind == "init":
        return "init", world.fresh_table()
    world.change(*changes)
    return {"sync": "sync", "reinit": "init"}[kind], world.table


def killed_at(world: World, kind: str, number: int, delivered: bool, changes: tuple[str, ...]) -> str:
    """Kill a load at its n-th message; whether the replica is `old`, `new`, or the load was `done` before."""
    action, table = ready(world, kind, changes)
    before = world.state(table)
    with world.proxy(number=number, delivered=delivered) as killer:
        worker = world.start(action, table, through=killer)
        answer = worker.wait()
    # A column that is dropped, and one with other values: a sync may say that it needs an init.
    assert worker.killed == killer.struck
    assert worker.killed or "result" in answer, answer
    outcome = world.judge(before, table)
    assert (outcome == "new") == killer.committed, (kind, number, outcome)
    world.converge(table)
    world.tidy()
    return outcome if worker.killed else "done"


def messages_of(world: World, kind: str, changes: tuple[str, ...]) -> int:
    """How many messages a whole load sends."""
    action, table = ready(world, kind, changes)
    with world.proxy() as counter:
        world.start(action, table, through=counter).result()
        return counter.messages


def test_a_load_that_is_killed_at_any_message_is_wholly_old_or_wholly_new(world: World) -> None:
    dice = random.Random(20261)
    changes = {"sync": ("add", "widen", "delete"), "init": (), "reinit": ("widen", "drop", "delete")}
    counts = {kind: messages_of(world, kind, changes[kind]) for kind in ROUNDS}
    for kind in ROUNDS:
        number = dice.randint(1, counts[kind] - 2)
        assert killed_at(world, kind, number, dice.random() < 0.5, changes[kind]) in ("old", "new"), (kind, number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("sync", ("add", "widen", "delete")),
        ("sync", ("drop", "require", "narrow", "delete")),
        ("init", ()),
        ("reinit", ("widen", "retype", "delete")),
    ],
)
@pytest.mark.parametrize(
    ("delivered", "step"), [(False, 23), (True, 31)], ids=["before-every-23rd", "after-every-31st"]
)
def test_a_load_that_is_killed_at_its_messages_in_turn_is_wholly_old_or_wholly_new(
    world: World, kind: str, changes: tuple[str, ...], delivered: bool, step: int
) -> None:
    """A sync sends about 400 messages, an init 60; the two steps together meet every stage."""
    outcomes: list[str] = []
    number = 1
    while not outcomes or outcomes[-1] != "done":
        assert number < 1000, "the loads grow as fast as we count"
        outcomes.append(killed_at(world, kind, number, delivered, changes))
        number += step
    assert outcomes.count("old") > (1 if kind == "init" else 8)


@pytest.mark.slow
def test_a_load_that_is_killed_at_any_moment_is_wholly_old_or_wholly_new(world: World) -> None:
    dice = random.Random(20262)
    longest = dict.fromkeys(ROUNDS, 0.2)
    outcomes: list[str] = []
    # The moment of the commit is somewhere else on each machine: the window in which we kill follows the outcomes.
    for turn in range(300):
        if turn >= 60 and outcomes.count("old") > 12 and outcomes.count("new") > 3:
            break
        kind = ROUNDS[turn % 3]
        changes = (*dice.sample(ALL_CHANGES[:-1], dice.randint(0, 3)), "delete")
        action, table = ready(world, kind, changes)
        before = world.state(table)
        started = time.monotonic()
        worker = world.start(action, table)
        time.sleep(dice.random() * longest[kind])
        worker.kill()
        answer = worker.wait()
        assert worker.killed or "result" in answer, answer
        took = time.monotonic() - started
        outcomes.append(world.judge(before, table))
        longest[kind] = longest[kind] * 1.2 if outcomes[-1] == "old" else min(took, longest[kind])
        world.converge(table)
    assert outcomes.count("old") > 12
    assert outcomes.count("new") > 3


def test_many_kills_in_a_row_of_one_load_leave_nothing_behind(world: World) -> None:
    world.change("add", "widen", "delete")
    before = world.state()
    for number in (20, 40, 60):
        with world.proxy(number=number) as killer:
            worker = world.start("sync", through=killer)
            worker.wait()
        assert worker.killed
        assert world.judge(before) == "old"
    world.converge()
    result = run(sync(world.replicator, "canvas.victims"))
    assert (result.state, result.rows_upserted, result.rows_deleted) == ("complete", 0, 0)
