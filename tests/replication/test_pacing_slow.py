"""At DAP's own pace: twenty processes with one key ask, and no minute sees more than five creations."""

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cd2.replication.dap.pacing import Pacer
from cd2.replication.dap.session import DapCredentials, DapSession
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl
from tests.replication.conftest import simulator_process

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 20
TABLES = ("users", "courses", "enrollments", "roles")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[SimulatorControl]:
    """A simulator with DAP's limits."""
    with simulator_process(tmp_path, "--rows", "20", "--reuse-jobs", "never") as control:
        yield control


def ask(target: DatabaseTarget, base_url: str, number: int, times: "multiprocessing.Queue[float]") -> None:
    """Create one job, in one of two namespaces, as one of two deployments would."""
    import asyncio

    async def run() -> None:
        credentials = DapCredentials(base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        pacer = Pacer(target, credentials.client_id, {"data": 5, "list": 5})
        async with DapSession(credentials, pacer) as session:
            namespace, table = ("catalog", "catalogs") if number % 5 == 4 else ("canvas", TABLES[number % 4])
            await pacer.turn("data")
            await session.start(TableName(namespace, table), None)
            times.put(time.time())

    asyncio.run(run())


@pytest.mark.slow
def test_twenty_processes_never_create_more_than_five_jobs_a_minute(
    target: DatabaseTarget, limited: SimulatorControl
) -> None:
    import asyncio

    credentials = DapCredentials(limited.base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    asyncio.run(Replicator(credentials, target, 5).prepare(["canvas", "catalog"]))
    limited.reset_stats()
    times: multiprocessing.Queue[float] = SPAWN.Queue()
    workers = [SPAWN.Process(target=ask, args=(target, limited.base_url, number, times)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    stamps = sorted(times.get(timeout=600) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    stats = limited.stats()
    assert stats["too_many_requests"] == 0
    assert stats["data_posts_busiest_minute"] <= 5
    assert all(later - earlier > 60 for earlier, later in zip(stamps, stamps[5:], strict=False))
    # And it wastes no time either: 19 intervals of 12 s, and the margin.
    assert stamps[-1] - stamps[0] < 19 * 12 * 1.1
