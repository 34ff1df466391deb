"""The official client's loader over our connection: what moves the rows until our own engine takes its place."""

from __future__ import annotations

from typing import Any, cast

import asyncpg
from dap.integration.database import DatabaseConnection, DatabaseConnectionConfig
from dap.replicator import meta_schema
from dap.replicator.sql_op import get_module_for_namespace
from dap.replicator.sql_op_init import SqlOpInit
from dap.replicator.sql_op_sync import SqlOpSync
from pysqlsync.base import BaseContext, BaseGenerator, Explorer
from pysqlsync.dialect.postgresql.connection import PostgreSQLConnection, PostgreSQLContext
from strong_typing.auxiliary import (
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

from cd2.replication.api import PacedSession
from cd2.replication.connection import DatabaseTarget, connect

SCHEMA_LOCK = 0x6364320002
"""Advisory lock: one process at a time compares and alters schemas. Ten first inits at once fail without it."""


class _Connection(PostgreSQLConnection):
    """pysqlsync's connection, opened by us: its own ignores sslmode and sslrootcert."""

    def __init__(self, target: DatabaseTarget, *args: Any) -> None:
        super().__init__(*args)
        self._target = target

    async def open(self) -> BaseContext:
        self.native = await connect(self._target)
        return PostgreSQLContext(self)


class _SerialExplorer:
    """An explorer whose `synchronize` runs in one process at a time."""

    def __init__(self, explorer: Explorer, context: PostgreSQLContext) -> None:
        self._explorer = explorer
        self._connection: asyncpg.Connection = context.native_connection

    async def synchronize(self, *, modules: list[Any]) -> None:
        await self._connection.execute("SELECT pg_advisory_lock($1)", SCHEMA_LOCK)
        try:
            await self._explorer.synchronize(modules=modules)
        finally:
            await self._connection.execute("SELECT pg_advisory_unlock($1)", SCHEMA_LOCK)


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
    _recognise_equal_types(made.generator)
    database.connection = _Connection(target, made.generator, made.params)
    return database


def _recognise_equal_types(generator: BaseGenerator) -> None:
    """Make pysqlsync recognise int64 and the like by equality instead of identity.

    It compares with `is`, which holds only while Python's cache of 128 typing expressions still has the first one. In a
    process as big as an Airflow worker it does not: every int64 column then gets CHECK constraints that the next sync
    cannot add again.
    """
    converter = generator.converter
    for annotated in (int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64):
        converter.options.substitutions[annotated] = converter.simple_type_to_sql_data_type(annotated)


async def load_snapshot(session: PacedSession, target: DatabaseTarget, namespace: str, table: str) -> None:
    """Create the table and fill it with a snapshot; writes its cursor last."""
    # web_logs delivers keys more than once
    upsert = (namespace, table) == ("canvas_logs", "web_logs")
    await _run(SqlOpInit, session, target, namespace, table, use_upsert=upsert)


async def load_changes(session: PacedSession, target: DatabaseTarget, namespace: str, table: str) -> None:
    """Evolve the table's schema and apply the changes since its cursor."""
    await _run(SqlOpSync, session, target, namespace, table)


async def _run(
    operation: type[SqlOpInit] | type[SqlOpSync],
    session: PacedSession,
    target: DatabaseTarget,
    namespace: str,
    table: str,
    **options: Any,
) -> None:
    _forget_types(namespace)
    database = client_database(target)
    async with database.connection as context:
        explorer = _SerialExplorer(database.engine.create_explorer(context), cast(PostgreSQLContext, context))
        # The client's sync looks up its bookkeeping table in a model that only this fills.
        await explorer.synchronize(modules=[meta_schema])
        await operation(
            conn=context,
            namespace=namespace,
            table_name=table,
            explorer=cast(Explorer, explorer),
            dialect=database.dialect,
            session=session,
            **options,
        ).run()


def _forget_types(namespace: str) -> None:
    """The client leaves the classes it makes of a table in a module; the next table of the process trips over them."""
    module = get_module_for_namespace(namespace)
    for name in [name for name in vars(module) if not name.startswith("__")]:
        delattr(module, name)
