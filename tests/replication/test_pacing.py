"""Turns are shared by all processes, evenly spread, and a 429 holds everybody back."""

import asyncio
import multiprocessing
import time

import asyncpg
import pytest

from cd2.replication.bookkeeping.tables import PACER
from cd2.replication.dap.pacing import SPACING_MARGIN, Pacer
from cd2.replication.database.connection import DatabaseTarget, connect

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def schema(target: DatabaseTarget) -> None:
    async def create() -> None:
        connection = await connect(target)
        await connection.execute("CREATE SCHEMA cd2")
        await connection.execute(PACER)
        await connection.close()

    asyncio.run(create())


def waits(target: DatabaseTarget, turns: int, per_minute: int = 5, client_id: str = "key") -> list[float]:
    """How long each of so many turns, asked for at once, is told to wait."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> None:
        pacer = Pacer(target, client_id, {"data": per_minute}, sleep)
        for _ in range(turns):
            await pacer.turn("data")

    asyncio.run(run())
    return slept


def test_a_first_turn_comes_at_once_and_the_next_ones_are_spread_over_the_minute(target: DatabaseTarget) -> None:
    slept = waits(target, 6)
    assert slept == pytest.approx([i * 12 * SPACING_MARGIN for i in range(6)], abs=1)
    assert slept[5] > 60


def test_each_key_has_its_own_turns(target: DatabaseTarget) -> None:
    waits(target, 3, client_id="one")
    assert waits(target, 1, client_id="other") == [0.0]


def test_the_key_itself_is_not_stored(target: DatabaseTarget) -> None:
    waits(target, 1, client_id="us-east-1#secretive")

    async def stored() -> str:
        connection: asyncpg.Connection = await connect(target)
        try:
            return str(await connection.fetch("SELECT * FROM cd2.pacer"))
        finally:
            await connection.close()

    assert "secretive" not in asyncio.run(stored())


def test_a_429_pushes_the_next_turn_back(target: DatabaseTarget) -> None:
    waits(target, 1)

    async def push() -> None:
        await Pacer(target, "key", {"data": 5}).push_back("data", 100)

    asyncio.run(push())
    assert waits(target, 1)[0] == pytest.approx(100, abs=2)


def take_turns(target: DatabaseTarget, per_minute: int, turns: int, times: "multiprocessing.Queue[float]") -> None:
    async def run() -> None:
        pacer = Pacer(target, "key", {"data": per_minute})
        for _ in range(turns):
            await pacer.turn("data")
            times.put(time.time())

    asyncio.run(run())


def test_processes_share_the_turns_so_that_no_minute_has_more_calls_than_allowed(target: DatabaseTarget) -> None:
    """With 600 turns a minute (ten a second) five processes keep apart what one clock allows."""
    times: multiprocessing.Queue[float] = SPAWN.Queue()
    workers = [SPAWN.Process(target=take_turns, args=(target, 600, 4, times)) for _ in range(5)]
    for worker in workers:
        worker.start()
    stamps = sorted(times.get(timeout=60) for _ in range(20))
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    # 20 turns of 0.1 s each: nobody got in between.
    assert stamps[-1] - stamps[0] >= 19 * 0.1 * 0.9
