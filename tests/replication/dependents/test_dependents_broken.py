"""Views that a schema change breaks: they do not hold back the data, are kept, named, and come back when they can."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from cd2.replication.dependents.restore import DEPENDENTS_LOCK, restore, retry_broken, save_and_drop
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from tests.replication.dependents.catalogue import difference
from tests.replication.dependents.world import NARROW, WIDEN, World
from tests.replication.waiting import WAIT_S

DROP_EMAIL = "ALTER TABLE canvas.users DROP COLUMN email"
ADD_EMAIL = "ALTER TABLE canvas.users ADD COLUMN email varchar(255)"
EMAIL_USERS = {
    "analytics.people", "analytics.level2", "analytics.level3", "analytics.level4", "analytics.level5",
    "analytics.mat_on_mat", "analytics.checked", "analytics.checked_all", "analytics.whole", "analytics.typed",
    "analytics.joined", 'Berichte «Q».Über "alles" . ', "Berichte «Q».Mat",
}  # fmt: skip


def without_columns_of_users(catalogue: dict[str, list[str]]) -> dict[str, list[str]]:
    """A dropped column that comes back is the last one, with another number: that is no view's affair."""
    return {
        name: [
            row for row in rows if '"relation": "canvas.users"' not in row and '"identity": "canvas.users"' not in row
        ]
        for name, rows in catalogue.items()
    }


def test_a_view_whose_column_disappears_is_kept_and_comes_back_with_the_column(corpus: World) -> None:
    before = without_columns_of_users(corpus.catalogue())
    gone = corpus.alter(DROP_EMAIL)
    assert set(gone.broken) == EMAIL_USERS
    assert "analytics.secure" in gone.restored
    assert corpus.admin("SELECT count(*) FROM canvas.users") == [(2,)]
    assert {name for name, missing in corpus.journal() if missing} == EMAIL_USERS
    assert set(corpus.retry().broken) == EMAIL_USERS
    corpus.admin(ADD_EMAIL, role="etl")
    back = corpus.retry()
    assert back.broken == ()
    assert set(back.restored) == EMAIL_USERS
    assert difference(before, without_columns_of_users(corpus.catalogue())) == []
    assert corpus.journal() == []
    assert corpus.retry() == Dependents()


def test_the_journal_says_why_and_for_which_tables(corpus: World) -> None:
    corpus.alter(DROP_EMAIL)
    journal = corpus.admin("SELECT view_name, error, tables FROM cd2.broken_dependents")
    rows = {name: (error, tables) for name, error, tables in journal}
    assert rows["people"] == ('column "email" does not exist (SQLSTATE 42703).', ["canvas.users"])
    assert rows["level2"] == ('relation "analytics.people" does not exist (SQLSTATE 42P01).', ["canvas.users"])
    assert rows["level5"][1] == ["canvas.courses", "canvas.users"]
    ((failed, tried),) = corpus.admin(
        "SELECT failed_at, tried_at FROM cd2.broken_dependents WHERE view_name = 'people'"
    )
    assert failed == tried
    corpus.retry()
    ((failed_now, tried_now),) = corpus.admin(
        "SELECT failed_at, tried_at FROM cd2.broken_dependents WHERE view_name = 'people'"
    )
    assert failed_now == failed
    assert tried_now > tried


def test_a_view_on_two_tables_is_tried_again_with_each_of_them(world: World) -> None:
    world.admin(
        "CREATE VIEW analytics.both AS "
        "SELECT email, title FROM canvas.users u JOIN canvas.courses c ON teacher_id = u.id",
        role="alice",
    )
    assert world.alter(DROP_EMAIL) == Dependents((), ("analytics.both",))
    assert world.retry("courses") == Dependents((), ("analytics.both",))
    world.admin(ADD_EMAIL, role="etl")
    assert world.retry("courses") == Dependents(("analytics.both",))
    assert world.retry("users") == Dependents()


def test_saving_again_loses_nothing_of_what_is_already_broken(corpus: World) -> None:
    before = without_columns_of_users(corpus.catalogue())
    corpus.alter(DROP_EMAIL)
    again = corpus.alter(WIDEN)
    assert again.broken == ()
    assert set(corpus.retry().broken) == EMAIL_USERS
    corpus.alter("ALTER TABLE canvas.users DROP COLUMN school")
    assert {name for name, _ in corpus.journal()} == EMAIL_USERS | {"analytics.windowed"}
    corpus.alter(ADD_EMAIL, "ALTER TABLE canvas.users ADD COLUMN school text", NARROW)
    assert set(corpus.retry().restored) == EMAIL_USERS | {"analytics.windowed"}
    assert difference(before, without_columns_of_users(corpus.catalogue())) == []


def test_a_name_that_people_took_over_is_theirs(world: World) -> None:
    world.admin("CREATE VIEW analytics.mine AS SELECT email FROM canvas.users", role="alice")
    world.admin("CREATE VIEW analytics.above AS SELECT email FROM analytics.mine", role="alice")
    world.alter(DROP_EMAIL)
    world.admin("CREATE VIEW analytics.mine AS SELECT name AS email FROM canvas.users", role="alice")
    assert world.retry() == Dependents(("analytics.above",))
    assert world.admin("SELECT email FROM analytics.above ORDER BY 1") == [("Ada",), ("Bo",)]
    assert world.journal() == []


def test_a_schema_that_people_dropped_takes_its_broken_views_along(world: World) -> None:
    world.admin("CREATE SCHEMA attic; CREATE VIEW attic.old AS SELECT email FROM canvas.users", role="etl")
    assert world.alter(DROP_EMAIL) == Dependents((), ("attic.old",))
    world.admin("DROP SCHEMA attic", role="etl")
    assert world.retry() == Dependents()
    assert world.journal() == []


def test_a_grant_to_a_role_that_is_gone_meanwhile_goes_with_it(world: World) -> None:
    world.admin("CREATE ROLE gone_meanwhile")
    world.admin(
        "CREATE VIEW analytics.granted AS SELECT email FROM canvas.users;"
        "GRANT SELECT ON analytics.granted TO gone_meanwhile, {bob}",
        role="alice",
    )
    world.alter(DROP_EMAIL)
    world.admin("DROP ROLE gone_meanwhile")
    world.admin(ADD_EMAIL, role="etl")
    assert world.retry() == Dependents(("analytics.granted",))
    assert world.admin(
        "SELECT has_table_privilege('{bob}', 'analytics.granted', 'SELECT')".replace("{bob}", world.roles["bob"])
    ) == [(True,)]


MATERIALIZED = """
CREATE MATERIALIZED VIEW analytics.ids AS SELECT (id / (id - 100))::int AS id, name FROM canvas.users;
CREATE UNIQUE INDEX ids_id ON analytics.ids (name);
COMMENT ON INDEX analytics.ids_id IS 'by name';
COMMENT ON MATERIALIZED VIEW analytics.ids IS 'ids';
GRANT SELECT ON analytics.ids TO PUBLIC;
CREATE VIEW analytics.on_ids AS SELECT id FROM analytics.ids;
"""


def test_a_materialized_view_that_cannot_be_refreshed_is_there_empty_and_filled_later(world: World) -> None:
    world.admin(MATERIALIZED, role="alice")
    before = world.catalogue()
    result = world.alter(WIDEN, "INSERT INTO canvas.users VALUES (100, 'Zero')", NARROW)
    assert result == Dependents(("analytics.on_ids",), ("analytics.ids",))
    assert world.journal() == [("analytics.ids", False)]
    ((error,),) = world.admin("SELECT error FROM cd2.broken_dependents")
    assert error == "REFRESH MATERIALIZED VIEW analytics.ids: DivisionByZeroError (SQLSTATE 22012)."
    assert world.retry() == Dependents((), ("analytics.ids",))
    # Saved once more, it still knows what it lacks.
    assert world.alter(WIDEN, NARROW) == Dependents(("analytics.on_ids",), ("analytics.ids",))
    world.admin("DELETE FROM canvas.users WHERE id = 100", role="etl")
    assert world.retry() == Dependents(("analytics.ids",))
    assert difference(before, world.catalogue()) == []


def test_a_unique_index_that_the_new_rows_break_is_made_when_they_are_unique_again(world: World) -> None:
    world.admin(MATERIALIZED, role="alice")
    before = world.catalogue()
    result = world.alter(WIDEN, "INSERT INTO canvas.users VALUES (3, 'Ada')", NARROW)
    assert result == Dependents(("analytics.on_ids",), ("analytics.ids",))
    assert world.admin("SELECT count(*) FROM analytics.ids") == [(3,)]
    ((error,),) = world.admin("SELECT error FROM cd2.broken_dependents")
    assert "Ada" not in error
    world.admin("DELETE FROM canvas.users WHERE id = 3", role="etl")
    world.admin("REFRESH MATERIALIZED VIEW analytics.ids", role="alice")
    assert world.retry() == Dependents(("analytics.ids",))
    assert difference(before, world.catalogue()) == []


def test_what_people_do_to_an_incomplete_view_meanwhile_is_not_undone(world: World) -> None:
    world.admin(MATERIALIZED, role="alice")
    world.alter(WIDEN, "INSERT INTO canvas.users VALUES (3, 'Ada')")
    world.admin("REVOKE SELECT ON analytics.ids FROM PUBLIC; CREATE INDEX ids_id ON analytics.ids (name)", role="alice")
    assert world.retry() == Dependents(("analytics.ids",))
    assert world.admin("SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE relname = 'ids' AND grantee = 0") == [
        (0,)
    ]
    world.alter(NARROW, WIDEN, "INSERT INTO canvas.users VALUES (100, 'Zero')")
    world.admin("DROP VIEW analytics.on_ids; DROP MATERIALIZED VIEW analytics.ids", role="alice")
    assert world.retry() == Dependents()
    assert world.journal() == []


def test_a_refresh_that_is_too_slow_does_not_hold_back_the_data(world: World) -> None:
    world.admin(
        "CREATE MATERIALIZED VIEW analytics.slow AS "
        "SELECT name, CASE WHEN name = 'slow' THEN pg_sleep(3600)::text END FROM canvas.users",
        role="alice",
    )

    async def work(connection: asyncpg.Connection) -> Dependents:
        saved = await save_and_drop(connection, TableName("canvas", "users"))
        await connection.execute(WIDEN)
        await connection.execute("UPDATE canvas.users SET name = 'slow' WHERE id = 1")
        await connection.execute("SET LOCAL statement_timeout = '2s'")
        result = await restore(connection, saved)
        assert await retry_broken(connection, TableName("canvas", "users")) == Dependents((), ("analytics.slow",))
        await connection.execute("SET LOCAL statement_timeout = 0")
        return result

    assert world.as_etl(work) == Dependents((), ("analytics.slow",))


def test_a_retry_waits_for_nobody_for_long(world: World) -> None:
    world.admin("CREATE VIEW analytics.mine AS SELECT email FROM canvas.users", role="alice")
    world.alter(DROP_EMAIL)
    world.admin(ADD_EMAIL, role="etl")

    async def work() -> tuple[Dependents, Dependents]:
        other = await world.connect()
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE canvas.users")
        connection = await world.connect()
        async with connection.transaction(), asyncio.timeout(WAIT_S):
            locked = await retry_broken(connection, TableName("canvas", "users"))
            assert await connection.fetchval("SELECT 1") == 1
        await transaction.rollback()
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT pg_advisory_xact_lock($1)", DEPENDENTS_LOCK)
        async with connection.transaction(), asyncio.timeout(WAIT_S):
            busy = await retry_broken(connection, TableName("canvas", "users"))
        await transaction.rollback()
        await other.close()
        await connection.close()
        return locked, busy

    still_broken = Dependents((), ("analytics.mine",))
    assert asyncio.run(work()) == (still_broken, still_broken)
    assert world.retry() == Dependents(("analytics.mine",))


def test_a_failing_database_is_not_taken_for_a_broken_view(world: World) -> None:
    world.admin("CREATE VIEW analytics.mine AS SELECT email FROM canvas.users", role="alice")
    world.admin(
        "CREATE FUNCTION public.slowly() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); END'; "
        "CREATE EVENT TRIGGER slowly ON ddl_command_start WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION public.slowly()"
    )
    before = world.catalogue()

    async def change(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            saved = await save_and_drop(connection, TableName("canvas", "users"))
            await connection.execute(WIDEN)
            await connection.execute("SET LOCAL statement_timeout = '300ms'")
            await restore(connection, saved)

    async def work() -> None:
        connection = await world.connect()
        with pytest.raises(asyncpg.QueryCanceledError):
            await change(connection)
        await connection.close()

    asyncio.run(work())
    assert difference(before, world.catalogue()) == []
    assert world.journal() == []


def test_a_detail_that_cannot_be_made_leaves_the_view_usable(world: World) -> None:
    """PostgreSQL has no statement to disable a trigger on a view; somebody wrote into the catalogue."""
    world.admin(
        "CREATE VIEW analytics.mine AS SELECT id, name FROM canvas.users;"
        "CREATE FUNCTION analytics.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER off INSTEAD OF DELETE ON analytics.mine FOR EACH ROW EXECUTE FUNCTION analytics.nothing()",
        role="alice",
    )
    world.admin("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'off'")
    assert world.alter(WIDEN) == Dependents((), ("analytics.mine",))
    assert world.admin("SELECT name FROM analytics.mine ORDER BY id") == [("Ada",), ("Bo",)]
    assert world.journal() == [("analytics.mine", False)]
    assert "DISABLE TRIGGER off" in world.admin("SELECT error FROM cd2.broken_dependents")[0][0]
