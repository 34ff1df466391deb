"""What all tables share is made once, by whoever comes first, and nothing that is there is lost."""

import asyncio
import multiprocessing
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres

SPAWN = multiprocessing.get_context("spawn")
NAMESPACES = ("canvas", "catalog")


def prepare(target: DatabaseTarget) -> None:
    replicator = Replicator(DapCredentials("http://127.0.0.1:1", "id", "secret"), target, 5)
    asyncio.run(replicator.prepare(NAMESPACES))


def fetch(target: DatabaseTarget, query: str) -> list[tuple[Any, ...]]:
    async def run() -> list[tuple[Any, ...]]:
        connection = await connect(target)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(run())


def test_schemas_bookkeeping_and_pacer_are_made(target: DatabaseTarget) -> None:
    prepare(target)
    schemas = {name for (name,) in fetch(target, "SELECT nspname FROM pg_namespace")}
    assert {"canvas", "catalog", "instructure_dap", "cd2"} <= schemas
    assert fetch(target, "SELECT version FROM instructure_dap.database_version") == [(1,)]
    assert fetch(target, "SELECT * FROM instructure_dap.table_sync") == []
    assert fetch(target, "SELECT * FROM cd2.pacer") == []


def test_preparing_again_changes_nothing(target: DatabaseTarget) -> None:
    prepare(target)
    columns = "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns ORDER BY 1, 2, 3"
    before = fetch(target, columns)
    prepare(target)
    assert fetch(target, columns) == before
    assert fetch(target, "SELECT version FROM instructure_dap.database_version") == [(1,)]


def test_six_processes_prepare_an_empty_database_at_once(target: DatabaseTarget) -> None:
    workers = [SPAWN.Process(target=prepare, args=(target,)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert fetch(target, "SELECT version FROM instructure_dap.database_version") == [(1,)]


def test_the_cursors_of_a_database_filled_by_client_1_survive(target: DatabaseTarget) -> None:
    """The official upgrade would TRUNCATE them, and every table would then need an init that fails."""
    prepare(target)

    async def make_it_a_database_of_client_1() -> None:
        connection = await connect(target)
        await connection.execute("DELETE FROM instructure_dap.database_version")
        await connection.execute(
            "INSERT INTO instructure_dap.table_sync (source_namespace, source_table, timestamp, schema_version, "
            "target_schema, target_table, schema_description_format, schema_description) "
            "VALUES ('canvas', 'users', '2026-01-01', 3, 'canvas', 'users', 'json', '{}')"
        )
        await connection.close()

    asyncio.run(make_it_a_database_of_client_1())
    prepare(target)
    assert fetch(target, "SELECT source_table, schema_version FROM instructure_dap.table_sync") == [("users", 3)]
    assert fetch(target, "SELECT version FROM instructure_dap.database_version") == [(1,)]


@pytest.fixture
def role(postgres: EmbeddedPostgres) -> str:
    """A role that may do nothing but connect; its password is its name."""
    name = f"role_{secrets.token_hex(4)}"
    postgres.create_role(name, name)
    return name


def test_a_missing_right_is_told_with_the_grant_that_gives_it(
    role: str, target_with: Callable[..., DatabaseTarget]
) -> None:
    with pytest.raises(TableFailure) as caught:
        prepare(target_with(user=role, password=role))
    assert f"The role {role} may not create the schema instructure_dap" in caught.value.message
    assert f'TO "{role}"' in caught.value.message


def test_once_everything_is_there_the_right_to_create_schemas_is_no_longer_needed(
    postgres: EmbeddedPostgres, role: str, target: DatabaseTarget, target_with: Callable[..., DatabaseTarget]
) -> None:
    """CREATE SCHEMA IF NOT EXISTS asks for the right even where there is nothing to create."""
    grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(target.dbname), sql.Identifier(role))
    revoke = sql.SQL("REVOKE CREATE ON DATABASE {} FROM {}").format(sql.Identifier(target.dbname), sql.Identifier(role))
    postgres.execute(grant)
    prepare(target_with(user=role, password=role))
    postgres.execute(revoke)
    prepare(target_with(user=role, password=role))
