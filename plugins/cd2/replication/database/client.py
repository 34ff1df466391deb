"""The official client over our connection: it creates and upgrades its bookkeeping itself.

Not through `dap.integration.database`, which imports the drivers of all databases that the client supports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dap.replicator import meta_schema
from pysqlsync.base import BaseContext, Explorer
from pysqlsync.connection import ConnectionParameters
from pysqlsync.dialect.postgresql.connection import PostgreSQLConnection, PostgreSQLContext
from pysqlsync.dialect.postgresql.discovery import PostgreSQLExplorer
from pysqlsync.dialect.postgresql.generator import PostgreSQLGenerator

from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.database.dialect import generator_options


class _Connection(PostgreSQLConnection):
    """pysqlsync's connection, opened by us: pysqlsync ignores sslmode and sslrootcert."""

    target: DatabaseTarget

    async def open(self) -> BaseContext:
        self.native = await connect(self.target)
        return PostgreSQLContext(self)


@asynccontextmanager
async def client_context(target: DatabaseTarget) -> AsyncIterator[tuple[BaseContext, Explorer]]:
    """A context and an explorer of pysqlsync for the client's bookkeeping, on a separate connection."""
    generator = PostgreSQLGenerator(generator_options(instructure_dap=meta_schema))
    connection = _Connection(generator, ConnectionParameters())
    connection.target = target
    async with connection as context:
        yield context, PostgreSQLExplorer(context)
