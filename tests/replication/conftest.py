"""What the replication tests share."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.replicator import Replicator
from local.compare import compare
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl

T = TypeVar("T")

NO_LIMITS = ("--data-limit", "0", "--list-limit", "0", "--job-limit", "0", "--reuse-jobs", "never")


@pytest.fixture
def target(database: str) -> DatabaseTarget:
    """The fresh test database as our code addresses it."""
    return target_of(database)


def target_of(dsn: str, **changes: object) -> DatabaseTarget:
    """A DSN as a target; `changes` replace its fields."""
    parts = urlsplit(dsn)
    values: dict[str, object] = {
        "host": parts.hostname,
        "port": parts.port,
        "dbname": parts.path.lstrip("/"),
        "user": parts.username,
        "password": parts.password,
        "sslmode": "disable",
        "sslrootcert": "",
    }
    return DatabaseTarget(**values | changes)  # type: ignore[arg-type]


@pytest.fixture
def target_with(database: str) -> Callable[..., DatabaseTarget]:
    """Makes targets of the fresh test database with some fields changed."""
    return lambda **changes: target_of(database, **changes)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorControl]:
    """A DAP simulator with small tables and without limits, shared by the tests of a module."""
    with simulator_process(tmp_path_factory.mktemp("simulator"), "--rows", "40", *NO_LIMITS) as control:
        yield control


def make_replicator(simulator: SimulatorControl, target: DatabaseTarget, **options: Any) -> Replicator:
    """A replicator without pace, on a prepared database."""
    credentials = DapCredentials(simulator.base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    made = Replicator(credentials, target, 60_000, **options)
    run(made.prepare(["canvas", "canvas_logs", "catalog", "new_quizzes"]))
    return made


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def execute(target: DatabaseTarget, statement: str) -> str:
    """Run a statement; its first value, as text."""

    async def work() -> str:
        connection = await connect(target)
        try:
            return str(await connection.fetchval(statement))
        finally:
            await connection.close()

    return run(work())


def assert_equal(simulator: SimulatorControl, database: str, *tables: str) -> None:
    """Every value of these tables is as the simulator has it."""
    comparison = compare(simulator.base_url, database, list(tables))
    assert len(comparison) == len(tables)
    assert [table for table in comparison if not table.equal] == []


@contextmanager
def simulator_process(state: Path, *options: str) -> Iterator[SimulatorControl]:
    """A simulator in a process of its own, with these options."""
    command = [sys.executable, "-m", "local.simulator", "--port", "0", "--state", str(state), *options]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address = state / "address"
    while not address.exists():
        assert process.poll() is None, "the simulator did not start"
        time.sleep(0.05)
    control = SimulatorControl(address.read_text().strip())
    try:
        yield control
    finally:
        control.close()
        process.terminate()
        process.wait(10)
