"""Fixtures of the replication tests: fresh databases, and one simulator for all tests of a process."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.replica import credentials_of, make_replicator, prepare, target_of
from tests.replication.simulators import NO_LIMITS, left_as_found, simulator_process
from tests.replication.victims import World, world_of
from tests.replication.worker import Workers

NewDatabase = Callable[[], str]
TargetWith = Callable[..., DatabaseTarget]


@pytest.fixture(scope="session")
def prepared_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that is prepared, to be cloned."""
    name = f"prepared_{secrets.token_hex(4)}"
    postgres.create_database(name)
    prepare(target_of(postgres.dsn(name)))
    return name


@pytest.fixture(scope="session")
def new_prepared_database(postgres: EmbeddedPostgres, prepared_template: str) -> NewDatabase:
    """Makes databases as `prepare_database` leaves them; who makes one drops it."""

    def make() -> str:
        name = f"clone_{secrets.token_hex(6)}"
        # FILE_COPY needs half the time of the default while the server is not durable.
        clone = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        postgres.execute(clone.format(sql.Identifier(name), sql.Identifier(prepared_template)))
        return name

    return make


@pytest.fixture
def database(postgres: EmbeddedPostgres, new_prepared_database: NewDatabase) -> Iterator[str]:
    """The DSN of a fresh, prepared database, dropped after the test."""
    name = new_prepared_database()
    yield postgres.dsn(name)
    postgres.drop_database(name)


@pytest.fixture
def target(database: str) -> DatabaseTarget:
    """The fresh, prepared database as our code addresses it."""
    return target_of(database)


@pytest.fixture
def empty_target(empty_database: str) -> DatabaseTarget:
    """A fresh database in which nothing is prepared."""
    return target_of(empty_database)


@pytest.fixture
def target_with(database: str) -> TargetWith:
    """Makes targets of the fresh, prepared database with some fields changed."""
    return lambda **changes: target_of(database, **changes)


@pytest.fixture(scope="session")
def shared_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorControl]:
    """A DAP simulator with small tables and without limits; tests ask for `simulator`."""
    with simulator_process(tmp_path_factory.mktemp("simulator"), "--rows", "40", *NO_LIMITS) as control:
        yield control


@pytest.fixture
def simulator(shared_simulator: SimulatorControl) -> Iterator[SimulatorControl]:
    """The simulator as it is after its start, whatever other tests did to it."""
    with left_as_found(shared_simulator) as control:
        control.reset_stats()
        yield control


@pytest.fixture
def replicator(simulator: SimulatorControl, target: DatabaseTarget) -> Replicator:
    """From the simulator into the fresh, prepared database."""
    return make_replicator(simulator, target)


@pytest.fixture(scope="session")
def shared_workers(
    shared_simulator: SimulatorControl, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """Starts processes that load from the simulator into databases of the test server; tests end those they start."""
    log = tmp_path_factory.mktemp("workers") / "log"
    with Workers(credentials_of(shared_simulator), postgres.password, log) as made:
        yield made


@pytest.fixture(scope="module")
def shared_world(
    shared_simulator: SimulatorControl,
    shared_workers: Workers,
    postgres: EmbeddedPostgres,
    new_prepared_database: NewDatabase,
) -> Iterator[World]:
    """A replica whose loads are killed; tests ask for `world`."""
    name = new_prepared_database()
    with world_of(shared_simulator, postgres.dsn(name), shared_workers) as made:
        yield made
    postgres.drop_database(name)


@pytest.fixture
def world(shared_world: World) -> World:
    """Up to date and without faults before each test, whatever the last one left."""
    shared_world.recover()
    return shared_world
