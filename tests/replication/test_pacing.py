"""Turns are shared by all processes, no minute has too many, and a 429 holds everybody back."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import pytest

from cd2.replication.dap.pacing import MOST_AT_ONCE, OBJECT_CALLS_PER_MINUTE, WINDOW_S, Pacer, _clock
from cd2.replication.database.connection import DatabaseTarget, Replica
from tests.replication.replica import execute, prepare, run

EXACTLY = 0.001
"""Seconds: what PostgreSQL adds up, it adds up exactly; it is the calls in between that take their time."""


NOW = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now"
LAST_TURN = f"SELECT seconds.now, extract(epoch FROM next_turn)::float8 AS turn FROM cd2.pacer, ({NOW}) AS seconds"


@dataclass(frozen=True)
class Turn:
    """A turn that was taken; all times are seconds of PostgreSQL's clock.

    :param slept: how long its taker was told to wait.
    :param called, returned: when it was asked for, and when that was answered.
    :param at: when it comes.
    """

    slept: float
    called: float
    returned: float
    at: float

    def assert_is_at(self, moment: float) -> None:
        """It comes at this moment, or came at once because the moment had passed; its taker sleeps until then."""
        assert max(moment, self.called) - EXACTLY <= self.at <= max(moment, self.returned) + EXACTLY
        assert max(0.0, self.at - self.returned) - EXACTLY <= self.slept <= max(0.0, self.at - self.called) + EXACTLY


def clock(target: DatabaseTarget) -> float:
    return float(execute(target, "SELECT extract(epoch FROM clock_timestamp())"))


def last_turn(target: DatabaseTarget) -> float:
    return float(execute(target, "SELECT extract(epoch FROM max(next_turn)) FROM cd2.pacer"))


def take_turn(target: DatabaseTarget, client_id: str = "key", per_minute: int = 5) -> Turn:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    called = clock(target)
    run(Pacer(Replica(target), client_id, {"data": per_minute}, sleep).turn("data"))
    return Turn(slept[0], called, clock(target), last_turn(target))


def push_back(target: DatabaseTarget, seconds: float) -> None:
    run(Pacer(Replica(target), "key", {"data": 5}).push_back("data", seconds))


def test_as_many_turns_as_a_minute_has_come_at_once_and_each_further_one_a_minute_after_an_earlier_one(
    target: DatabaseTarget,
) -> None:
    turns = [take_turn(target) for _ in range(12)]
    for turn in turns[:5]:
        turn.assert_is_at(turn.called)
    for earlier, turn in zip(turns, turns[5:], strict=False):
        turn.assert_is_at(earlier.at + WINDOW_S)


def test_a_limit_that_is_lowered_counts_from_the_next_turn_on(target: DatabaseTarget) -> None:
    turns = [take_turn(target) for _ in range(5)]
    take_turn(target, per_minute=2).assert_is_at(turns[3].at + WINDOW_S)
    take_turn(target, per_minute=2).assert_is_at(turns[4].at + WINDOW_S)


def test_a_limit_that_is_raised_lets_more_turns_come_at_once(target: DatabaseTarget) -> None:
    first, _ = [take_turn(target, per_minute=2) for _ in range(2)]
    for _ in range(3):
        turn = take_turn(target)
        turn.assert_is_at(turn.called)
    take_turn(target).assert_is_at(first.at + WINDOW_S)


def test_of_a_high_limit_some_come_at_once_and_the_rest_in_the_same_rhythm(target: DatabaseTarget) -> None:
    turns = [take_turn(target, per_minute=6000) for _ in range(MOST_AT_ONCE + 1)]
    turns[-1].assert_is_at(turns[0].at + WINDOW_S * MOST_AT_ONCE / 6000)
    size = execute(target, "SELECT cardinality(turns) FROM cd2.pacer")
    assert size == str(MOST_AT_ONCE)


def test_no_minute_has_more_turns_than_the_limit_and_few_are_lost_to_that() -> None:
    for limit in (*range(1, 1000), 60_000):
        turns, seconds = _clock(limit)
        # However they come: as many as there may be, each time that they may.
        assert turns * math.ceil(60 / seconds) <= limit
        assert turns <= MOST_AT_ONCE
    turns, seconds = _clock(OBJECT_CALLS_PER_MINUTE)
    assert turns * 60 / seconds * 1.1 >= OBJECT_CALLS_PER_MINUTE == 200


@pytest.mark.parametrize("limit", [5, 200, 6000])
def test_calls_that_come_at_once_take_hardly_longer_than_the_limit_allows(limit: int, target: DatabaseTarget) -> None:
    """As many as ten tables of 500 objects would need without lists: at most a tenth longer, and never too early."""
    calls = 500

    async def take_all() -> list[Turn]:
        replica = Replica(target, 1)
        pacer = Pacer(replica, "key", {"object": limit})
        turns = []
        for _ in range(calls):
            before = await replica.row(NOW)
            slept = await pacer.reserve("object")
            after = await replica.row(LAST_TURN)
            assert before is not None
            assert after is not None
            turns.append(Turn(slept, before["now"], after["now"], after["turn"]))
        await replica.close()
        return turns

    turns = run(take_all())
    for number, turn in enumerate(turns):
        allowed = turns[0].at + number * 60 / limit * 1.1
        assert turn.at <= max(allowed, turn.returned) + EXACTLY
    for earlier, turn in zip(turns, turns[limit:], strict=False):
        assert turn.at - earlier.at >= 60


def test_a_clock_of_version_0_1_goes_on(target: DatabaseTarget) -> None:
    execute(target, "ALTER TABLE cd2.pacer DROP COLUMN turns")
    key = Pacer(Replica(target), "key", {"data": 5}).key
    execute(target, f"INSERT INTO cd2.pacer VALUES ('{key}', 'data', now() + interval '50 seconds')")
    expected = last_turn(target)
    prepare(target)
    take_turn(target).assert_is_at(expected)


def test_each_key_has_its_own_turns(target: DatabaseTarget) -> None:
    for _ in range(3):
        take_turn(target, client_id="one")
    assert take_turn(target, client_id="other").slept == 0


def test_the_key_itself_is_not_stored(target: DatabaseTarget) -> None:
    take_turn(target, client_id="us-east-1#secretive")
    stored = execute(target, "SELECT string_agg(p::text, ' ') FROM cd2.pacer p")
    assert "data" in stored
    assert "secretive" not in stored


def test_a_429_pushes_the_next_turn_back_and_spreads_those_after_it(target: DatabaseTarget) -> None:
    take_turn(target)
    before = clock(target)
    push_back(target, 100)
    pushed = last_turn(target)
    assert before + 100 <= pushed <= clock(target) + 100
    for number in range(8):
        take_turn(target).assert_is_at(pushed + number * WINDOW_S / 5)


def test_a_429_never_brings_the_next_turn_forward(target: DatabaseTarget) -> None:
    turns = [take_turn(target) for _ in range(9)]
    push_back(target, 1)
    assert last_turn(target) == pytest.approx(turns[-1].at, abs=EXACTLY)
    take_turn(target).assert_is_at(turns[4].at + WINDOW_S)


def test_turns_that_were_taken_before_a_429_still_count(target: DatabaseTarget) -> None:
    turns = [take_turn(target) for _ in range(10)]
    push_back(target, WINDOW_S + 10)
    after = [take_turn(target) for _ in range(3)]
    for earlier, turn in zip(turns[5:], after, strict=False):
        assert turn.at >= earlier.at + WINDOW_S - EXACTLY


def test_no_two_of_many_at_once_get_the_same_turn(target: DatabaseTarget) -> None:
    async def reserve_all() -> None:
        await asyncio.gather(*(Pacer(Replica(target), "key", {"data": 1}).reserve("data") for _ in range(20)))

    first = take_turn(target, per_minute=1)
    run(reserve_all())
    assert last_turn(target) == pytest.approx(first.at + 20 * WINDOW_S, abs=EXACTLY)
