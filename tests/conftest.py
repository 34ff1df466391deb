"""Fixtures shared by all tests: a real PostgreSQL, and a fresh database on it."""

import secrets
from collections.abc import Iterator

import pytest

from local.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the whole test session."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of a fresh, empty database, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.create_database(name)
    yield postgres.dsn(name)
    postgres.drop_database(name)
