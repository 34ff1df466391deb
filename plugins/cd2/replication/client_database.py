"""The official client over our connection: for its bookkeeping, which it creates and upgrades itself.

Not through `dap.integration.database`: that imports the drivers of every database the client knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

from dap.replicator import meta_schema
from pysqlsync.base import BaseContext, Explorer, GeneratorOptions
from pysqlsync.connection import ConnectionParameters
from pysqlsync.dialect.postgresql.connection import PostgreSQLConnection, PostgreSQLContext
from pysqlsync.dialect.postgresql.discovery import PostgreSQLExplorer
from pysqlsync.dialect.postgresql.generator import PostgreSQLGenerator
from pysqlsync.formation.mutation import MutatorOptions
from pysqlsync.formation.py_to_sql import StructMode

from cd2.replication.connection import DatabaseTarget, connect

DIALECT = "postgresql"


class _Connection(PostgreSQLConnection):
    """pysqlsync's connection, opened by us: its own ignores sslmode and sslrootcert."""

    target: DatabaseTarget

    async def open(self) -> BaseContext:
        self.native = await connect(self.target)
        return PostgreSQLContext(self)


def generator_options(**namespaces: ModuleType) -> GeneratorOptions:
    """The options with which the client makes its DDL.

    :param namespaces: by schema of the database, the module whose classes are its tables.
    """
    return GeneratorOptions(
        struct_mode=StructMode.JSON,
        foreign_constraints=False,
        namespaces={module: schema for schema, module in namespaces.items()},
        synchronization=MutatorOptions(
            allow_drop_enum=False, allow_drop_struct=False, allow_drop_table=False, allow_drop_namespace=False
        ),
    )


@asynccontextmanager
async def client_context(target: DatabaseTarget) -> AsyncIterator[tuple[BaseContext, Explorer]]:
    """The client's view of the replica's bookkeeping, on a connection of its own."""
    generator = PostgreSQLGenerator(generator_options(instructure_dap=meta_schema))
    connection = _Connection(generator, ConnectionParameters())
    connection.target = target
    async with connection as context:
        yield context, PostgreSQLExplorer(context)
