"""A database as `prepare_database` leaves it."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator


@pytest.fixture
def prepared_database(database: str) -> str:
    """The DSN of a fresh database, prepared for the namespace `canvas`."""
    parts = psycopg.conninfo.conninfo_to_dict(database)
    target = DatabaseTarget(
        host=str(parts["host"]),
        port=int(str(parts["port"])),
        dbname=str(parts["dbname"]),
        user=str(parts["user"]),
        password=str(parts.get("password") or ""),
        sslmode="disable",
        sslrootcert="",
    )
    asyncio.run(Replicator(DapCredentials("http://127.0.0.1:9", "id", "secret"), target, 5).prepare(["canvas"]))
    return database
