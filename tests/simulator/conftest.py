"""Fixtures: simulators, the official client, and bare HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator.running import UNLIMITED, Dap, NewSimulator, RawClient, RunningSimulator


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    """A simulator for all tests of a module, without limits. A test that changes tables takes tables of its own."""
    running = RunningSimulator(
        tmp_path_factory.mktemp("simulator"), (*UNLIMITED, "--rows", "40", "--table-rows", "catalog.products=400")
    ).start()
    yield running
    running.stop()


@pytest.fixture
def new_simulator(tmp_path: Path) -> Iterator[NewSimulator]:
    """Starts simulators for one test; options of the command line as arguments."""
    started: list[RunningSimulator] = []

    def start(*options: str, state: str = "state") -> RunningSimulator:
        running = RunningSimulator(tmp_path / state, options)
        started.append(running)
        return running.start()

    yield start
    for running in started:
        if running.process is not None and running.process.poll() is None:
            running.kill()


@pytest.fixture
def dap(simulator: RunningSimulator, database: str) -> Dap:
    """The official client, for the module's simulator and a fresh database."""
    return Dap(simulator.url, database)


@pytest.fixture
def raw(simulator: RunningSimulator) -> Iterator[RawClient]:
    """Bare HTTP to the module's simulator, logged in. Leaves no faults behind."""
    client = RawClient(simulator.url)
    client.login()
    yield client
    simulator.control.clear_faults()
    client.session.close()
