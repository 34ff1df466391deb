"""What is known about the tables: the official client's bookkeeping (`instructure_dap`), and our own (`cd2`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
from dap.replicator import meta_schema
from dap.version_upgrade.db_version_upgrader import VersionUpgrader

from cd2.errors import TableFailure
from cd2.replication.asking import CREATE_JOBS
from cd2.replication.client_database import DIALECT, client_context
from cd2.replication.connection import DatabaseTarget
from cd2.replication.dependents import CREATE_BROKEN_DEPENDENTS
from cd2.replication.freshness import CREATE_FRESHNESS
from cd2.replication.pacing import CREATE_PACER

PREPARATION_LOCK = 0x6364320001
"""Advisory lock: one preparation at a time, whatever the number of deployments that share the database."""


@dataclass(frozen=True)
class Cursor:
    """How far a table is replicated.

    :param since: state of the table in DAP that the replica holds, UTC.
    :param description: the JSON schema that the table was last brought to.
    """

    since: datetime
    schema_version: int
    description: str


async def read_cursor(connection: asyncpg.Connection, namespace: str, table: str) -> Cursor | None:
    """The table's row in `instructure_dap.table_sync`, or None if the table was never (completely) initialised."""
    row = await connection.fetchrow(
        "SELECT timestamp, schema_version, schema_description FROM instructure_dap.table_sync "
        "WHERE source_namespace = $1 AND source_table = $2 ORDER BY id DESC LIMIT 1",
        namespace,
        table,
    )
    if row is None:
        return None
    return Cursor(row["timestamp"].replace(tzinfo=UTC), row["schema_version"], row["schema_description"])


async def write_cursor(connection: asyncpg.Connection, namespace: str, table: str, cursor: Cursor) -> None:
    """Note how far a table is replicated, as the official client does, in the caller's transaction."""
    values = (
        namespace,
        table,
        cursor.since.astimezone(UTC).replace(tzinfo=None),
        cursor.schema_version,
        cursor.description,
    )
    updated = await connection.execute(
        "UPDATE instructure_dap.table_sync SET timestamp = $3, schema_version = $4, schema_description = $5, "
        "target_schema = $1, target_table = $2, schema_description_format = 'json' "
        "WHERE source_namespace = $1 AND source_table = $2",
        *values,
    )
    if updated == "UPDATE 0":
        await connection.execute(
            "INSERT INTO instructure_dap.table_sync (source_namespace, source_table, timestamp, schema_version, "
            "schema_description, target_schema, target_table, schema_description_format) "
            "VALUES ($1, $2, $3, $4, $5, $1, $2, 'json')",
            *values,
        )


async def prepare(target: DatabaseTarget, connection: asyncpg.Connection, namespaces: Iterable[str]) -> None:
    """Make what all tables share: the schemas, the client's bookkeeping in its newest version, our own tables.

    Idempotent, cheap, and safe to run at the same time from several places. Without it the first inits race each
    other for the schemas, and a late `version_upgrade` truncates the bookkeeping of the others.

    :raises TableFailure: the role may not create a schema that is missing.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", PREPARATION_LOCK)
    try:
        for schema in ("instructure_dap", "cd2", *namespaces):
            await _ensure_schema(connection, schema)
        for create in (CREATE_PACER, CREATE_JOBS, CREATE_FRESHNESS, CREATE_BROKEN_DEPENDENTS):
            await connection.execute(create)
        await _upgrade_bookkeeping(target, connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", PREPARATION_LOCK)


async def _ensure_schema(connection: asyncpg.Connection, schema: str) -> None:
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
        return
    try:
        await connection.execute(f"CREATE SCHEMA {quote_identifier(schema)}")
    except asyncpg.InsufficientPrivilegeError:
        role, dbname = await connection.fetchrow("SELECT current_user, current_database()")
        denied = TableFailure(
            f"The role {role} may not create the schema {schema}: run "
            f"GRANT CREATE ON DATABASE {quote_identifier(dbname)} TO {quote_identifier(role)}.",
            cause="InsufficientPrivilegeError",
            type="42501",
        )
    else:
        return
    raise denied


async def _upgrade_bookkeeping(target: DatabaseTarget, connection: asyncpg.Connection) -> None:
    async with client_context(target) as (context, explorer):
        if await _filled_by_client_1(connection):
            # The client's upgrade script would TRUNCATE the cursors of such a database: say that it is up to date.
            await explorer.synchronize(modules=[meta_schema])
            await connection.execute("INSERT INTO instructure_dap.database_version (version) VALUES (1)")
        await VersionUpgrader(explorer, context, DIALECT).upgrade()


async def _filled_by_client_1(connection: asyncpg.Connection) -> bool:
    if await connection.fetchval("SELECT to_regclass('instructure_dap.table_sync') IS NULL"):
        return False
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM instructure_dap.table_sync)"):
        return False
    if await connection.fetchval("SELECT to_regclass('instructure_dap.database_version') IS NULL"):
        return True
    return not await connection.fetchval("SELECT EXISTS (SELECT FROM instructure_dap.database_version)")


def quote_identifier(name: str) -> str:
    """A name as PostgreSQL reads it whatever its characters."""
    return '"' + name.replace('"', '""') + '"'
