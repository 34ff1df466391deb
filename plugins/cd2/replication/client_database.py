"""The official client's view of the replica, over our connection: for the upgrade of its bookkeeping."""

from __future__ import annotations

from typing import Any

from dap.integration.database import DatabaseConnection, DatabaseConnectionConfig
from pysqlsync.base import BaseContext
from pysqlsync.dialect.postgresql.connection import PostgreSQLConnection, PostgreSQLContext

from cd2.replication.connection import DatabaseTarget, connect


class _Connection(PostgreSQLConnection):
    """pysqlsync's connection, opened by us: its own ignores sslmode and sslrootcert."""

    def __init__(self, target: DatabaseTarget, *args: Any) -> None:
        super().__init__(*args)
        self._target = target

    async def open(self) -> BaseContext:
        self.native = await connect(self._target)
        return PostgreSQLContext(self)


def client_database(target: DatabaseTarget) -> DatabaseConnection:
    """The client's view of the replica; connects when its `connection` is entered."""
    database = DatabaseConnection.from_config(
        DatabaseConnectionConfig(
            dialect="postgresql",
            host=target.host,
            port=target.port,
            username=target.user,
            password=target.password,
            database=target.dbname,
        )
    )
    made = database.connection
    database.connection = _Connection(target, made.generator, made.params)
    return database
