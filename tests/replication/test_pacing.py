"""Turns are shared by all processes, evenly spread, and a 429 holds everybody back."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from dataclasses import dataclass

import pytest

from cd2.replication.dap.pacing import SPACING_MARGIN, Pacer
from cd2.replication.database.connection import DatabaseTarget, Replica
from tests.replication.replica import execute, run
from tests.replication.waiting import WAIT_S

SPAWN = multiprocessing.get_context("spawn")
EXACTLY = 0.001
"""Seconds: what PostgreSQL adds up, it adds up exactly; it is the calls in between that take their time."""


@dataclass(frozen=True)
class Turn:
    """A turn that was taken; all times are seconds of PostgreSQL's clock.

    :param slept: how long its taker was told to wait.
    :param called, returned: when it was asked for, and when that was answered.
    :param next: when the turn after it comes.
    """

    slept: float
    called: float
    returned: float
    next: float

    def assert_is_at(self, moment: float) -> None:
        """Who takes it wakes at this moment, or went on at once because it had passed."""
        assert max(0.0, moment - self.returned) - EXACTLY <= self.slept <= max(0.0, moment - self.called) + EXACTLY


def clock(target: DatabaseTarget) -> float:
    return float(execute(target, "SELECT extract(epoch FROM clock_timestamp())"))


def next_turn(target: DatabaseTarget) -> float:
    return float(execute(target, "SELECT extract(epoch FROM max(next_turn)) FROM cd2.pacer"))


def take_turn(target: DatabaseTarget, client_id: str = "key") -> Turn:
    """A turn of five a minute."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    called = clock(target)
    run(Pacer(Replica(target), client_id, {"data": 5}, sleep).turn("data"))
    return Turn(slept[0], called, clock(target), next_turn(target))


def test_a_first_turn_comes_at_once_and_the_next_ones_are_spread_over_the_minute(target: DatabaseTarget) -> None:
    turns = [take_turn(target) for _ in range(6)]
    first = turns[0].next - 12 * SPACING_MARGIN
    assert turns[0].slept == 0
    for number, turn in enumerate(turns):
        assert turn.next == pytest.approx(first + (number + 1) * 12 * SPACING_MARGIN, abs=EXACTLY)
        turn.assert_is_at(first + number * 12 * SPACING_MARGIN)


def test_each_key_has_its_own_turns(target: DatabaseTarget) -> None:
    for _ in range(3):
        take_turn(target, client_id="one")
    assert take_turn(target, client_id="other").slept == 0


def test_the_key_itself_is_not_stored(target: DatabaseTarget) -> None:
    take_turn(target, client_id="us-east-1#secretive")
    stored = execute(target, "SELECT string_agg(p::text, ' ') FROM cd2.pacer p")
    assert "data" in stored
    assert "secretive" not in stored


def test_a_429_pushes_the_next_turn_back(target: DatabaseTarget) -> None:
    take_turn(target)
    before = clock(target)
    run(Pacer(Replica(target), "key", {"data": 5}).push_back("data", 100))
    pushed = next_turn(target)
    assert before + 100 <= pushed <= clock(target) + 100
    take_turn(target).assert_is_at(pushed)


def test_a_429_never_brings_the_next_turn_forward(target: DatabaseTarget) -> None:
    for _ in range(3):
        before = take_turn(target).next
    run(Pacer(Replica(target), "key", {"data": 5}).push_back("data", 1))
    assert next_turn(target) == pytest.approx(before, abs=EXACTLY)


def take_turns(target: DatabaseTarget, per_minute: int, turns: int, times: multiprocessing.Queue[float]) -> None:
    async def work() -> None:
        pacer = Pacer(Replica(target), "key", {"data": per_minute})
        for _ in range(turns):
            await pacer.turn("data")
            times.put(time.time())

    asyncio.run(work())


def test_processes_share_the_turns_so_that_no_minute_has_more_calls_than_allowed(target: DatabaseTarget) -> None:
    """With 600 turns a minute (ten a second) three processes keep apart what one clock allows."""
    interval = 0.1 * SPACING_MARGIN
    take_turn(target)
    # So late that all of them are there when the first turn comes; were they not, this could only pass more easily.
    run(Pacer(Replica(target), "key", {"data": 600}).push_back("data", 6))
    first = next_turn(target)
    times: multiprocessing.Queue[float] = SPAWN.Queue()
    workers = [SPAWN.Process(target=take_turns, args=(target, 600, 5, times)) for _ in range(3)]
    for worker in workers:
        worker.start()
    stamps = sorted(times.get(timeout=WAIT_S) for _ in range(15))
    for worker in workers:
        worker.join(WAIT_S)
        assert worker.exitcode == 0
    for number, stamp in enumerate(stamps):
        assert stamp >= first + number * interval - EXACTLY
    assert next_turn(target) >= first + 15 * interval - EXACTLY
