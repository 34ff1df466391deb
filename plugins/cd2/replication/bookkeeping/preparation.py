"""Creates what all tables share, before the first of them is replicated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

import asyncpg
from dap.replicator import meta_schema
from dap.version_upgrade.db_version_upgrader import LATEST_VERSION, VersionUpgrader

from cd2.replication.bookkeeping import ledger
from cd2.replication.bookkeeping.tables import CREATE_TABLES
from cd2.replication.database.client import client_context
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.database.dialect import DIALECT
from cd2.replication.errors import StopAll, TableFailure
from cd2.replication.names import quote_identifier

OLDEST_SERVER = 15
"""The first with MERGE."""

_DATABASE = """
SELECT current_database()::text, current_setting('server_encoding'), current_setting('server_version'),
       current_setting('server_version_num')::int"""

_CLIENT_TABLES = """
SELECT c.relname::text, array_agg(a.attname::text) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'instructure_dap'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.relname"""

PREPARATION_LOCK = 0x6364320001
"""Advisory lock: one preparation at a time, however many deployments share the database."""


async def prepare(target: DatabaseTarget, connection: asyncpg.Connection, namespaces: Iterable[str]) -> None:
    """Create what all tables share: the schemas, the client's bookkeeping in its newest version, our own tables.

    Idempotent, cheap, and safe to run concurrently. Without it, the first inits would race to create the schemas, and
    the client's upgrade in one of them would truncate the cursors of the others.

    :raises StopAll: the database cannot hold the data.
    :raises TableFailure: the role may not create a missing schema.
    """
    await _check_database(connection)
    await connection.execute("SELECT pg_advisory_lock($1)", PREPARATION_LOCK)
    try:
        for schema in ("instructure_dap", "cd2", *namespaces):
            await _ensure_schema(connection, schema)
        for create in CREATE_TABLES:
            await connection.execute(create)
        await _upgrade_bookkeeping(target, connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", PREPARATION_LOCK)
    await ledger.prune(connection)


async def _check_database(connection: asyncpg.Connection) -> None:
    """Refuse a database in which table after table would fail: on the first character, or on the first MERGE."""
    name, encoding, version, number = (await connection.fetch(_DATABASE))[0]
    if number < OLDEST_SERVER * 10_000:
        raise StopAll(
            f"The server of the database {name} is PostgreSQL {version}, which has no MERGE: it must be "
            f"{OLDEST_SERVER} or newer. Upgrade it, or use another server."
        )
    if encoding != "UTF8":
        raise StopAll(
            f"The database {name} has the encoding {encoding}, which cannot hold all characters of Canvas, and an "
            "encoding cannot be changed: create another database and put its name into the secret or the connection. "
            f"CREATE DATABASE {quote_identifier(name + '_utf8')} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0"
        )


async def _ensure_schema(connection: asyncpg.Connection, schema: str) -> None:
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
        return
    try:
        await connection.execute(f"CREATE SCHEMA {quote_identifier(schema)}")
    except asyncpg.InsufficientPrivilegeError:
        role, dbname = await connection.fetchval("SELECT ARRAY[current_user, current_database()]")
        raise TableFailure(
            f"The role {role} may not create the schema {schema}: run "
            f"GRANT CREATE ON DATABASE {quote_identifier(dbname)} TO {quote_identifier(role)}.",
            cause="InsufficientPrivilegeError",
            type="42501",
        ) from None


async def _upgrade_bookkeeping(target: DatabaseTarget, connection: asyncpg.Connection) -> None:
    # The client reads the whole catalog to find this out, on a connection of its own.
    if await _is_up_to_date(connection):
        return
    async with client_context(target) as (context, explorer):
        if await _filled_by_client_1(connection):
            # The client's upgrade script would TRUNCATE the cursors of such a database: mark it as up to date.
            await explorer.synchronize(modules=[meta_schema])
            await connection.execute("INSERT INTO instructure_dap.database_version (version) VALUES (1)")
        await VersionUpgrader(explorer, context, DIALECT).upgrade()


async def _is_up_to_date(connection: asyncpg.Connection) -> bool:
    """Whether the client's tables are as its `VersionUpgrader` would leave them."""
    found = {row["relname"]: set(row["columns"]) for row in await connection.fetch(_CLIENT_TABLES)}
    wanted = {
        table.__name__: {field.name for field in fields(table)}
        for table in (meta_schema.database_version, meta_schema.table_sync)
    }
    if any(found.get(name) != columns for name, columns in wanted.items()):
        return False
    versions = await connection.fetch("SELECT version FROM instructure_dap.database_version")
    return [row["version"] for row in versions] == [LATEST_VERSION]


async def _filled_by_client_1(connection: asyncpg.Connection) -> bool:
    if await connection.fetchval("SELECT to_regclass('instructure_dap.table_sync') IS NULL"):
        return False
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM instructure_dap.table_sync)"):
        return False
    if await connection.fetchval("SELECT to_regclass('instructure_dap.database_version') IS NULL"):
        return True
    return not await connection.fetchval("SELECT EXISTS (SELECT FROM instructure_dap.database_version)")
