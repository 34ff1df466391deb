"""Many tables wait in one process, or in two: what they share, and what ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest

from cd2.replication import waits
from cd2.replication.dap.session import DapSession, Job
from cd2.replication.database.connection import DatabaseTarget, Replica
from cd2.replication.errors import Cd2Error, StopAll, TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.waits import Line, Replicators, Waits
from local.simulator.control import SimulatorControl
from tests.replication.replica import credentials_of, execute, run
from tests.replication.waiting import WAIT_S

REFUSED = StopAll("DAP refused the credentials.", type="AuthenticationError", uuid="u-1")
USERS = TableName("canvas", "users")
NAMES = ["canvas.courses", "canvas.enrollment_states", "canvas.roles", "canvas.users"]
OURS = (
    "FROM pg_stat_activity WHERE application_name = 'cd2' AND datname = current_database() AND pid <> pg_backend_pid()"
)


class Process:
    """Waits as one triggerer has them.

    :param replicator: what its waits use.
    """

    begun = 0
    """How many waits have begun, in all processes of a test."""

    def __init__(self, make: Callable[[], Replicator]) -> None:
        self.replicators = Replicators(make)
        self.waits = Waits(self.replicators)

    async def wait(
        self,
        run_key: str,
        work: Callable[[Replicator], Coroutine[Any, Any, str]],
        table: TableName = USERS,
    ) -> str | Cd2Error:
        """How a wait ends."""
        try:
            async with self.replicators.lease() as replicator:
                return await self.waits.until_done(replicator, run_key, table, work(replicator))
        except Cd2Error as error:
            return error


async def for_ever(_: Replicator) -> str:
    Process.begun += 1
    await asyncio.sleep(10 * WAIT_S)
    return "late"


async def refused(_: Replicator) -> str:
    raise REFUSED


async def refused_when_two_wait(_: Replicator) -> str:
    while Process.begun < 2:  # noqa: ASYNC110 - an event would belong to one test's loop
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    raise REFUSED


async def done(_: Replicator) -> str:
    await asyncio.sleep(0.5)
    return "job-1"


@pytest.fixture
def shared(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Replicator]:
    """Makes replicators for many waits, whose database is prepared; stops are seen at once."""
    monkeypatch.setattr(waits, "LOOK_S", 0.1)
    return lambda: Replicator(credentials_of(simulator), target, 60_000, pooled=3)


def together(*each: Coroutine[Any, Any, str | Cd2Error]) -> list[str | Cd2Error]:
    async def all_of_them() -> list[str | Cd2Error]:
        async with asyncio.timeout(WAIT_S):
            return list(await asyncio.gather(*each))

    return run(all_of_them())


def test_what_every_table_would_meet_ends_the_waits_of_the_run_in_all_processes_and_of_no_other(
    shared: Callable[[], Replicator],
) -> None:
    Process.begun = 0
    one, other = Process(shared), Process(shared)
    ended = together(
        one.wait("a run", refused_when_two_wait),
        one.wait("a run", for_ever),
        other.wait("a run", for_ever),
        other.wait("another run", done),
        one.wait("another run", done),
    )
    for error in ended[:3]:
        assert isinstance(error, StopAll)
        assert (error.message, error.type, error.uuid) == (REFUSED.message, REFUSED.type, REFUSED.uuid)
    assert ended[3:] == ["job-1", "job-1"]


def test_a_table_that_is_cleared_after_the_stop_asks_for_itself(shared: Callable[[], Replicator]) -> None:
    one, other = Process(shared), Process(shared)

    async def cleared() -> list[str | Cd2Error]:
        await one.wait("a run", refused)
        return [await one.wait("a run", done), await other.wait("a run", done)]

    assert run(cleared()) == ["job-1", "job-1"]


def test_a_failure_of_one_table_ends_no_other_wait(shared: Callable[[], Replicator]) -> None:
    async def fails(_: Replicator) -> str:
        raise TransientError("DAP answered 503.")

    one = Process(shared)
    ended = together(one.wait("a run", fails), one.wait("a run", done))
    assert isinstance(ended[0], TransientError)
    assert ended[1] == "job-1"


def test_refused_credentials_are_looked_up_again_for_the_next_table(shared: Callable[[], Replicator]) -> None:
    made: list[Replicator] = []

    def make() -> Replicator:
        made.append(shared())
        return made[-1]

    one = Process(make)

    async def twice() -> None:
        await one.wait("a run", done)
        await one.wait("a run", done)
        assert len(made) == 1
        await one.wait("a run", refused)
        await one.wait("a run", done)

    run(twice())
    assert len(made) == 2


def test_tables_that_wait_together_share_few_connections_and_one_login(
    shared: Callable[[], Replicator], simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.reset_stats()
    one = Process(shared)
    most = 0
    one_at_a_time = asyncio.Lock()

    def asks(name: str) -> Callable[[Replicator], Coroutine[Any, Any, str]]:
        async def ask(replicator: Replicator) -> str:
            nonlocal most
            table = TableName.parse(name)
            assert await replicator.cursor(table) is None
            job = await replicator.ask(table, None)
            async with one_at_a_time:  # who counts has a connection of its own
                most = max(most, int(await asyncio.to_thread(execute, target, f"SELECT count(*) {OURS}")))
            return job

        return ask

    ended = together(*(one.wait("a run", asks(name)) for name in NAMES))
    assert len(set(ended)) == len(NAMES)
    assert all(isinstance(job, str) for job in ended)
    assert 1 <= most <= 3
    assert simulator.stats()["calls"]["login"] == 1


def test_connections_that_the_server_closes_at_any_moment_are_replaced(target: DatabaseTarget) -> None:
    pooled = Replica(target, pooled=2)
    end = f"SELECT count(pg_terminate_backend(pid)) {OURS}"

    async def ask() -> list[int]:
        numbers = []
        for _ in range(20):
            ending = asyncio.create_task(asyncio.to_thread(execute, target, end))
            rows = await asyncio.gather(*(pooled.row("SELECT 1 AS one") for _ in range(10)))
            numbers += [row["one"] for row in rows if row]
            await ending
        await pooled.close()
        return numbers

    assert run(ask()) == [1] * 200


def test_tables_ask_in_the_order_of_the_list_whoever_came_first(
    shared: Callable[[], Replicator], simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, line = Process(shared), Line(at_once=1)
    asked: list[str] = []

    async def start(session: DapSession, table: TableName, since: datetime | None) -> Job:
        asked.append(str(table))
        return await original(session, table, since)

    original = DapSession.start
    monkeypatch.setattr(DapSession, "start", start)

    async def ask(number: int) -> str | Cd2Error:
        table = TableName.parse(NAMES[number])
        return await one.wait("a run", lambda replicator: replicator.ask(table, None, place=line.place(number)))

    async def story() -> None:
        async with asyncio.timeout(WAIT_S):
            async with line.place(-1):
                tasks = [asyncio.ensure_future(ask(number)) for number in (3, 1, 0, 2)]
                while len(line._waiting) < len(tasks):  # noqa: ASYNC110 - until all of them stand in line
                    await asyncio.sleep(0.05)
            await asyncio.gather(*tasks)

    run(story())
    assert asked == NAMES


def test_a_table_whose_wait_ends_while_it_stands_in_line_holds_nobody_up() -> None:
    async def story() -> list[int]:
        line = Line(at_once=1)
        served: list[int] = []

        async def ask(number: int, seconds: float) -> None:
            async with line.place(number):
                await asyncio.sleep(seconds)
                served.append(number)

        tasks = [asyncio.ensure_future(ask(number, 0 if number else 2 * WAIT_S)) for number in range(4)]
        await asyncio.sleep(0.1)
        tasks[1].cancel()  # while it waits
        tasks[0].cancel()  # while it holds its place
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*tasks, return_exceptions=True)
        await ask(9, 0)
        return served

    assert run(story()) == [2, 3, 9]
