"""Views on a table whose schema changes: afterwards they are what they were, or nothing happened."""

from __future__ import annotations

import asyncio
import subprocess

import asyncpg
import psycopg
import pytest

from cd2.replication.dependents.restore import restore, save_and_drop
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from local.postgres import installation
from tests.replication.dependents.catalogue import difference
from tests.replication.dependents.world import NARROW, WIDEN, World
from tests.replication.waiting import until


def all_views(world: World) -> list[str]:
    rows = world.admin(
        "SELECT nspname || '.' || relname FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('v', 'm') AND c.oid >= 16384"
    )
    return sorted(row[0] for row in rows)


def dump(world: World) -> list[str]:
    """What pg_dump says; the order of equals is by oid, so lines are sorted."""
    text = subprocess.run(
        [installation() / "bin/pg_dump", "--schema-only", "--exclude-schema=cd2", world.dsn],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(line.replace(" ", "") for line in text.splitlines() if not line.startswith(("--", "\\")))


def test_every_view_is_what_it_was_after_a_type_is_changed_and_changed_back(corpus: World) -> None:
    catalogue, dumped, views = corpus.catalogue(), dump(corpus), all_views(corpus)
    with pytest.raises(Exception, match="cannot alter type of a column used by a view"):
        corpus.admin(WIDEN, role="etl")
    first = corpus.alter(WIDEN)
    assert first.broken == ()
    assert sorted(first.restored) == views
    widened = {
        key: [row.replace("varying(500)", "varying(255)") for row in rows] for key, rows in corpus.catalogue().items()
    }
    assert difference(catalogue, widened) == []
    assert corpus.alter(NARROW) == first
    assert difference(catalogue, corpus.catalogue()) == []
    assert dump(corpus) == dumped
    assert corpus.journal() == []


def test_materialized_views_hold_the_new_rows_or_stay_unpopulated(corpus: World) -> None:
    corpus.alter("UPDATE canvas.users SET name = 'Ada Lovelace' WHERE id = 1", WIDEN)
    assert corpus.admin("SELECT name FROM analytics.level4 ORDER BY id") == [("Ada Lovelace",), ("Bo",)]
    assert corpus.admin("SELECT n FROM analytics.mat_on_mat") == [(2,)]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has not been populated"):
        corpus.admin("SELECT * FROM analytics.empty")


def test_a_table_without_dependents_needs_nothing(world: World) -> None:
    assert world.alter(WIDEN) == Dependents()
    assert world.alter(table="there is none") == Dependents()
    assert world.retry() == Dependents()


def test_default_privileges_add_no_grants(world: World) -> None:
    world.admin("CREATE VIEW analytics.plain AS SELECT name FROM canvas.users", role="alice")
    world.admin(
        "CREATE VIEW analytics.mine AS SELECT name FROM canvas.users; GRANT SELECT ON analytics.mine TO {alice}",
        role="etl",
    )
    before = world.catalogue()
    world.admin("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {bob}, PUBLIC", role="alice")
    world.admin(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA analytics GRANT SELECT ON TABLES TO {bob} WITH GRANT OPTION", role="etl"
    )
    assert len(world.alter(WIDEN, NARROW).restored) == 2
    assert difference({"acl": before["pg_class"]}, {"acl": world.catalogue()["pg_class"]}) == []


def test_a_grant_by_a_role_that_we_cannot_become_is_kept_as_its_owners(world: World) -> None:
    world.admin(
        "CREATE VIEW analytics.passed_on AS SELECT name FROM canvas.users;"
        "GRANT SELECT ON analytics.passed_on TO {bob} WITH GRANT OPTION; GRANT USAGE ON SCHEMA analytics TO {bob}",
        role="alice",
    )
    world.admin("GRANT USAGE ON SCHEMA analytics TO {bob}")
    world.admin("GRANT SELECT ON analytics.passed_on TO PUBLIC", role="bob")
    assert world.alter(WIDEN) == Dependents(("analytics.passed_on",))
    assert world.admin(
        "SELECT pg_get_userbyid(grantor), privilege_type, is_grantable FROM pg_class, aclexplode(relacl) "
        "WHERE relname = 'passed_on' AND grantee = 0"
    ) == [(world.roles["alice"], "SELECT", False)]


def test_an_owner_who_may_no_longer_look_into_the_tables_schema_gets_his_view_back(world: World) -> None:
    """A view works without its owner's right to the schemas of its tables; making it anew needs that right."""
    world.admin("CREATE VIEW analytics.old AS SELECT name FROM canvas.users", role="alice")
    world.admin("REVOKE USAGE ON SCHEMA canvas FROM {alice}")
    before = world.catalogue()
    assert world.alter(WIDEN, NARROW) == Dependents(("analytics.old",))
    assert difference(before, world.catalogue()) == []


def test_a_superuser_needs_no_rights_of_the_owners(corpus: World) -> None:
    corpus.admin("REVOKE CREATE, USAGE ON SCHEMA analytics FROM {alice}")
    before = corpus.catalogue()

    async def work() -> Dependents:
        connection = await asyncpg.connect(corpus.dsn)
        async with connection.transaction():
            saved = await save_and_drop(connection, TableName("canvas", "users"))
            await connection.execute(WIDEN)
            await connection.execute(NARROW)
            result = await restore(connection, saved)
            assert await connection.fetchval("SELECT current_user = session_user")
        await connection.close()
        return result

    assert asyncio.run(work()).broken == ()
    assert difference(before, corpus.catalogue()) == []


# -- nothing is lost -----------------------------------------------------------------------------


def test_a_rollback_at_any_point_leaves_everything(corpus: World) -> None:
    before = corpus.catalogue()

    async def work(point: int) -> None:
        connection = await corpus.connect()
        transaction = connection.transaction()
        await transaction.start()
        saved = await save_and_drop(connection, TableName("canvas", "users"))
        assert await connection.fetchval("SELECT to_regclass('analytics.people')") is None
        if point:
            await connection.execute(WIDEN)
        if point == 2:
            await restore(connection, saved)
        await transaction.rollback()
        await connection.close()

    for point in range(3):
        asyncio.run(work(point))
        assert difference(before, corpus.catalogue()) == []


def test_a_connection_that_is_killed_at_any_moment_leaves_everything(corpus: World) -> None:
    before = corpus.catalogue()

    async def work(after_s: float) -> bool:
        connection = await corpus.connect()
        other = await asyncpg.connect(corpus.dsn)

        async def kill() -> None:
            await asyncio.sleep(after_s)
            await other.execute("SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid())

        killer = asyncio.create_task(kill())
        killed = False
        try:
            async with connection.transaction():
                saved = await save_and_drop(connection, TableName("canvas", "users"))
                await connection.execute(WIDEN)
                await connection.execute(NARROW)
                await restore(connection, saved)
                await killer
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            killed = True
        await killer
        await connection.close()
        await other.close()
        return killed

    for after_s in (0.02, 0.06, 0.12, 0.3):
        assert asyncio.run(work(after_s))
        assert difference(before, corpus.catalogue()) == []


def test_two_workers_with_views_in_common_do_not_meet_in_a_deadlock(corpus: World) -> None:
    before = corpus.catalogue()

    async def work(table: str, there: str, back: str) -> Dependents:
        connection = await corpus.connect()
        try:
            async with connection.transaction():
                saved = await save_and_drop(connection, TableName("canvas", table))
                await connection.execute(there)
                await asyncio.sleep(0.2)
                await connection.execute(back)
                return await restore(connection, saved)
        finally:
            await connection.close()

    async def both() -> list[Dependents]:
        title = "ALTER TABLE canvas.courses ALTER COLUMN title TYPE varchar({})"
        return [
            *await asyncio.gather(work("users", WIDEN, NARROW), work("courses", title.format(200), title.format(100)))
        ]

    for result in asyncio.run(both()):
        assert result.broken == ()
        assert "analytics.joined" in result.restored
    assert difference(before, corpus.catalogue()) == []


def test_a_view_that_is_replaced_while_we_wait_for_its_lock_comes_back_as_replaced(corpus: World) -> None:
    async def work() -> None:
        analyst = await corpus.connect("alice")
        change = analyst.transaction()
        await change.start()
        await analyst.execute(
            "CREATE OR REPLACE VIEW analytics.people AS "
            'SELECT id, name, email, upper(name) AS "lower Name", school FROM canvas.users'
        )
        await analyst.execute("CREATE VIEW analytics.newer AS SELECT school FROM analytics.people")
        connection = await corpus.connect()
        async with connection.transaction():
            saving = asyncio.create_task(save_and_drop(connection, TableName("canvas", "users")))
            looker = await asyncpg.connect(corpus.dsn)

            async def waits() -> bool:
                return bool(await looker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await until(waits, saving)
            await looker.close()
            await change.commit()
            saved = await saving
            await connection.execute(WIDEN)
            result = await restore(connection, saved)
        assert result.broken == ()
        assert "analytics.newer" in result.restored
        await connection.close()
        await analyst.close()

    asyncio.run(work())
    assert corpus.admin('SELECT "lower Name", school FROM analytics.people WHERE id = 1') == [("ADA", "North")]


@pytest.mark.parametrize("types", [("text", "bigint"), ("bigint", "text"), ("text", "jsonb", "text", "varchar(9)")])
def test_casts_survive_changes_of_the_type_of_their_column(world: World, types: tuple[str, ...]) -> None:
    """PostgreSQL leaves out a cast that changes nothing: the view's own column must not follow the next change."""
    world.admin("ALTER TABLE canvas.users ADD score integer; UPDATE canvas.users SET score = id", role="etl")
    world.admin(
        "CREATE VIEW analytics.casts AS SELECT id, score::text AS t, score::bigint AS b, score FROM canvas.users;"
        "CREATE MATERIALIZED VIEW analytics.counted AS SELECT score::text, count(*) FROM canvas.users GROUP BY 1;"
        "CREATE INDEX by_text ON analytics.counted (score text_pattern_ops)",
        role="alice",
    )
    for name in types:
        through = "score::text::bigint" if name == "bigint" else f"score::text::{name}"
        result = world.alter(f"ALTER TABLE canvas.users ALTER score TYPE {name} USING {through}")
        assert result.broken == ()
        assert set(result.restored) == {"analytics.casts", "analytics.counted"}
        assert [row[0] for row in world.admin(COLUMN_TYPES.format("casts"))][1:3] == ["text", "bigint"]
        assert world.admin(COLUMN_TYPES.format("counted"))[0] == ("text",)
    assert world.admin("SELECT t, b FROM analytics.casts ORDER BY id") == [("1", 1), ("2", 2)]


def test_a_view_that_people_have_changed_since_is_taken_as_it_is(world: World) -> None:
    world.admin("CREATE VIEW analytics.casts AS SELECT name::text AS t FROM canvas.users", role="alice")
    world.alter("ALTER TABLE canvas.users ALTER name TYPE text")
    world.admin("CREATE OR REPLACE VIEW analytics.casts AS SELECT lower(name) AS t FROM canvas.users", role="alice")
    assert world.alter(WIDEN).broken == ()
    assert world.admin("SELECT t FROM analytics.casts ORDER BY 1") == [("ada",), ("bo",)]


COLUMN_TYPES = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = 'analytics.{}'::regclass AND attnum > 0 ORDER BY attnum"
)
