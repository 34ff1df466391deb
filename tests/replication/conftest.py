"""What the replication tests share."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from cd2.replication.connection import DatabaseTarget
from local.simulator.control import SimulatorControl


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
    state = tmp_path_factory.mktemp("simulator")
    command = [sys.executable, "-m", "local.simulator", "--port", "0", "--state", str(state), "--rows", "40"]
    process = subprocess.Popen(
        [*command, "--data-limit", "0", "--list-limit", "0", "--job-limit", "0", "--reuse-jobs", "never"]
    )
    address = state / "address"
    while not address.exists():
        assert process.poll() is None, "the simulator did not start"
        time.sleep(0.05)
    control = SimulatorControl(address.read_text().strip())
    yield control
    control.close()
    process.terminate()
    process.wait(10)
