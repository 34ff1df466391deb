"""When no table waits or loads, nothing of ours keeps a connection open: the database can pause between runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cd2.replication.database.connection import DatabaseTarget, Replica, connected
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.waits import Replicators
from local.simulator.control import SimulatorControl
from tests.replication.replica import credentials_of, run
from tests.replication.waiting import WAIT_S

OURS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE application_name = 'cd2' AND datname = current_database() AND pid <> pg_backend_pid()"
)


async def connections(target: DatabaseTarget) -> int:
    async with connected(target) as connection:
        return int(await connection.fetchval(OURS))


@pytest.mark.parametrize("tables", [1, 5])
def test_after_the_waits_the_triggerer_holds_no_connection(
    replicator: Replicator,
    simulator: SimulatorControl,
    target: DatabaseTarget,
    monkeypatch: pytest.MonkeyPatch,
    tables: int,
) -> None:
    """Although it keeps its replicator, and closes it only when the next run begins: hours later."""
    monkeypatch.setattr(Replica, "IDLE_S", 1.0)
    make: Callable[[], Replicator] = lambda: Replicator(credentials_of(simulator), target, 60_000, pooled=3)  # noqa: E731
    replicators = Replicators(make)

    async def one_run() -> int:
        async def wait() -> None:
            async with replicators.lease() as leased:
                await leased.cursor(TableName("canvas", "users"))

        await asyncio.gather(*(wait() for _ in range(tables)))
        return await connections(target)

    async def run_and_rest() -> tuple[int, int]:
        during = await one_run()
        async with asyncio.timeout(WAIT_S):
            while (left := await connections(target)) > 0:  # noqa: ASYNC110 - nothing here announces it
                await asyncio.sleep(0.2)
        return during, left

    during, left = run(run_and_rest())
    assert 1 <= during <= 3, "that there was something to close"
    assert left == 0
    assert replicators._newest is not None, "the replicator is kept: only its connections go"


def test_they_go_long_before_aurora_would_pause() -> None:
    """Aurora counts at least 300 seconds without a connection before it pauses."""
    assert Replica.IDLE_S < 300
