"""A replica in a test: where it is, what replicates into it, and whether it is equal to the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.names import NAMESPACES
from cd2.replication.replicator import Replicator
from local.compare import compare
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl

T = TypeVar("T")

NO_PACE = 60_000
"""Job creations a minute: a turn comes after a millisecond."""


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


def credentials_of(simulator: SimulatorControl) -> DapCredentials:
    """The DAP key that the simulator accepts."""
    return DapCredentials(simulator.base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)


def make_replicator(simulator: SimulatorControl, target: DatabaseTarget, **options: Any) -> Replicator:
    """A replicator without pace."""
    return Replicator(credentials_of(simulator), target, NO_PACE, **options)


def prepare(target: DatabaseTarget) -> None:
    """Prepare a database for all namespaces, as the DAG's first task does; DAP is not needed for that."""
    nowhere = DapCredentials("http://127.0.0.1:1", "id", "secret")
    run(Replicator(nowhere, target, NO_PACE).prepare(NAMESPACES))


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


def fetch(target: DatabaseTarget, query: str) -> list[Any]:
    """The rows of a query; each is a tuple whose columns have names, too."""

    async def work() -> list[Any]:
        connection = await connect(target)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    return run(work())


def assert_equal(simulator: SimulatorControl, database: str, *tables: str) -> None:
    """Every value of these tables is as the simulator has it."""
    comparison = compare(simulator.base_url, database, list(tables))
    assert len(comparison) == len(tables)
    assert [table for table in comparison if not table.equal] == []
