"""What the replication tests share."""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from cd2.replication.connection import DatabaseTarget


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
