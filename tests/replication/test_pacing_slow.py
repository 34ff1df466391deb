"""At DAP's own pace: twenty processes with one key ask, and no minute sees more than five creations."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from cd2.replication.dap.pacing import Pacer
from cd2.replication.dap.session import DapCredentials, DapSession
from cd2.replication.database.connection import DatabaseTarget, Replica
from cd2.replication.names import TableName
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl
from tests.replication.replica import run
from tests.replication.simulators import simulator_process
from tests.replication.waiting import WAIT_S

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 20
TABLES = ("users", "courses", "enrollments", "roles")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[SimulatorControl]:
    """A simulator with DAP's limits."""
    with simulator_process(tmp_path, "--rows", "20", "--reuse-jobs", "never") as control:
        yield control


def ask(target: DatabaseTarget, base_url: str, number: int) -> None:
    """Create one job, in one of two namespaces, as one of two deployments would."""

    async def work() -> None:
        credentials = DapCredentials(base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        pacer = Pacer(Replica(target), credentials.client_id, {"data": 5, "list": 5})
        async with DapSession(credentials, pacer) as session:
            namespace, table = ("catalog", "catalogs") if number % 5 == 4 else ("canvas", TABLES[number % 4])
            await pacer.turn("data")
            await session.start(TableName(namespace, table), None)

    run(work())


@pytest.mark.slow
def test_twenty_processes_never_create_more_than_five_jobs_a_minute(
    target: DatabaseTarget, limited: SimulatorControl
) -> None:
    limited.reset_stats()
    workers = [SPAWN.Process(target=ask, args=(target, limited.base_url, number)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(4 * 60 + WAIT_S)
        assert worker.exitcode == 0
    stats = limited.stats()
    assert sum(stats["jobs"].values()) == PROCESSES
    assert stats["too_many_requests"] == 0
    assert stats["data_posts_busiest_minute"] <= 5
