"""What all tables share is made once, by whoever comes first, and nothing that is there is lost."""

import asyncio
import secrets
from collections.abc import Callable

import pytest
from psycopg import sql

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.errors import StopAll, TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from tests.replication.replica import execute, fetch, run, target_of

NAMESPACES = ("canvas", "catalog")


@pytest.fixture
def database(empty_database: str) -> str:
    """An empty one."""
    return empty_database


async def preparation(target: DatabaseTarget) -> None:
    await Replicator(DapCredentials("http://127.0.0.1:1", "id", "secret"), target, 5).prepare(NAMESPACES)


def prepare(target: DatabaseTarget) -> None:
    run(preparation(target))


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


def test_six_preparations_of_an_empty_database_at_once_all_succeed(target: DatabaseTarget) -> None:
    async def six() -> None:
        await asyncio.gather(*(preparation(target) for _ in range(6)))

    run(six())
    assert fetch(target, "SELECT version FROM instructure_dap.database_version") == [(1,)]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM instructure_dap.database_version",
        "DROP TABLE instructure_dap.database_version",
        "DROP TABLE instructure_dap.table_sync",
        "ALTER TABLE instructure_dap.table_sync DROP COLUMN schema_description_format",
    ],
)
def test_bookkeeping_of_the_client_that_lacks_something_is_completed(target: DatabaseTarget, damage: str) -> None:
    columns = (
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "WHERE table_schema = 'instructure_dap' ORDER BY 1, 2"
    )
    prepare(target)
    whole = fetch(target, columns)
    execute(target, damage)
    prepare(target)
    assert fetch(target, columns) == whole
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

    run(make_it_a_database_of_client_1())
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


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_the_data_is_refused_with_the_one_that_can(
    encoding: str, postgres: EmbeddedPostgres
) -> None:
    name = f"narrow_{secrets.token_hex(4)}"
    create = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0")
    postgres.execute(create.format(sql.Identifier(name), sql.Literal(encoding)))
    made = [name]
    try:
        target = target_of(postgres.dsn(name))
        with pytest.raises(StopAll, match=f"has the encoding {encoding}") as caught:
            prepare(target)
        assert fetch(target, "SELECT FROM pg_namespace WHERE nspname IN ('cd2', 'canvas', 'instructure_dap')") == []
        message = caught.value.message
        postgres.execute(sql.SQL(message[message.index("CREATE DATABASE") :]))
        made.append(f"{name}_utf8")
        prepare(target_of(postgres.dsn(made[-1])))
    finally:
        for database in made:
            postgres.drop_database(database)


def test_a_server_without_merge_is_refused(target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cd2.replication.bookkeeping.preparation.OLDEST_SERVER", 99)
    with pytest.raises(StopAll, match=r"is PostgreSQL 1\d\.\d+.*must be 99 or newer"):
        prepare(target)
