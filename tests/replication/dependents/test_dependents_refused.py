"""What keeps views from being restored is reported before anything is dropped, with what to do."""

from __future__ import annotations

import asyncpg
import psycopg
import pytest

from cd2.replication.dependents.restore import save_and_drop
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from tests.replication.dependents.catalogue import difference
from tests.replication.dependents.world import WIDEN, World


def refused(world: World) -> str:
    """The message of the failure; the catalogue is untouched, also within the transaction, which goes on."""
    before = world.catalogue()

    async def work(connection: asyncpg.Connection) -> str:
        with pytest.raises(TableFailure) as caught:
            await save_and_drop(connection, TableName("canvas", "users"))
        assert await connection.fetchval("SELECT to_regclass('analytics.people')") == "analytics.people"
        assert caught.value.message.startswith("canvas.users: its schema changed")
        return caught.value.message

    message = world.as_etl(work)
    assert difference(before, world.catalogue()) == []
    return message


def test_a_missing_membership_is_named_with_its_grant(corpus: World) -> None:
    corpus.admin("REVOKE {alice} FROM {etl}")
    message = refused(corpus)
    assert "analytics.level5" in message
    assert corpus.roles["alice"] in message
    grant = corpus.text("GRANT {alice} TO {etl}")
    assert f"{grant}." in message
    corpus.admin(grant)
    assert corpus.alter(WIDEN).broken == ()


def test_nobody_is_made_a_superuser_for_a_view(corpus: World) -> None:
    corpus.admin('CREATE VIEW analytics."of the ""admin""" AS SELECT name FROM canvas.users')
    message = refused(corpus)
    owner = corpus.text('ALTER VIEW "analytics"."of the ""admin""" OWNER TO {etl}')
    assert f"{owner}." in message
    assert "GRANT" not in message
    corpus.admin(owner)
    assert corpus.alter(WIDEN).broken == ()


def test_a_membership_without_the_right_to_use_it_is_named_with_its_grant(corpus: World) -> None:
    corpus.admin("GRANT {alice} TO {etl} WITH SET FALSE")
    grant = corpus.text("GRANT {alice} TO {etl} WITH SET TRUE")
    assert f"{grant}." in refused(corpus)
    corpus.admin(grant)
    assert corpus.alter(WIDEN).broken == ()


def test_a_schema_in_which_the_owner_may_no_longer_create_is_named_with_its_grant(corpus: World) -> None:
    corpus.admin("REVOKE CREATE ON SCHEMA analytics FROM {alice}")
    grant = corpus.text('GRANT CREATE ON SCHEMA "analytics" TO {alice}')
    assert f"{grant}." in refused(corpus)
    corpus.admin(grant)
    assert corpus.alter(WIDEN).broken == ()


def test_everything_that_is_missing_is_named_at_once(corpus: World) -> None:
    corpus.admin("REVOKE {alice} FROM {etl}; REVOKE CREATE, USAGE ON SCHEMA analytics FROM {alice}")
    corpus.admin("CREATE TABLE analytics.kept (p analytics.people)")
    message = refused(corpus)
    assert corpus.text("GRANT {alice} TO {etl}") in message
    assert corpus.text('GRANT CREATE, USAGE ON SCHEMA "analytics" TO {alice}') in message
    assert "table analytics.kept" in message


@pytest.mark.parametrize(
    ("statement", "named", "drop"),
    [
        (
            "CREATE FUNCTION analytics.f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM analytics.people; END",
            "function analytics.f() uses view analytics.people",
            "DROP FUNCTION analytics.f()",
        ),
        (
            "CREATE FUNCTION analytics.g(analytics.people) RETURNS text LANGUAGE sql AS 'SELECT $1.name'",
            "function analytics.g(analytics.people) uses type analytics.people",
            "DROP FUNCTION analytics.g(analytics.people)",
        ),
        (
            "CREATE FUNCTION analytics.h() RETURNS SETOF analytics.level5 LANGUAGE sql AS 'TABLE analytics.level5'",
            "function analytics.h() uses type analytics.level5",
            "DROP FUNCTION analytics.h()",
        ),
        (
            "CREATE TABLE analytics.kept (p analytics.people[])",
            "column p of table analytics.kept uses type analytics.people[]",
            "ALTER TABLE analytics.kept DROP COLUMN p",
        ),
        (
            "CREATE TABLE analytics.t (id bigint); ALTER TABLE analytics.t ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON analytics.t USING (id IN (SELECT id FROM analytics.people))",
            "policy own on table analytics.t uses",
            "DROP POLICY own on analytics.t",
        ),
        (
            "CREATE TABLE analytics.r (id bigint); CREATE RULE look AS ON DELETE TO analytics.r DO ALSO "
            "DELETE FROM canvas.courses WHERE id IN (SELECT id FROM analytics.people)",
            "rule look on table analytics.r uses",
            "DROP RULE look on analytics.r",
        ),
        (
            "CREATE TYPE analytics.pair AS (p analytics.people, n int)",
            "column p of composite type analytics.pair uses type analytics.people",
            "ALTER TYPE analytics.pair DROP ATTRIBUTE p",
        ),
        (
            "CREATE TABLE analytics.d (n text DEFAULT (NULL::analytics.people)::text)",
            "default value for column n of table analytics.d uses type analytics.people",
            "ALTER TABLE analytics.d ALTER COLUMN n DROP DEFAULT",
        ),
        (
            "CREATE TABLE analytics.c (n text CONSTRAINT mine CHECK ((NULL::analytics.people) IS NULL))",
            "constraint mine on table analytics.c uses type analytics.people",
            "ALTER TABLE analytics.c DROP CONSTRAINT mine",
        ),
    ],
)
def test_what_is_no_view_and_stands_in_the_way_is_named(corpus: World, statement: str, named: str, drop: str) -> None:
    corpus.admin("GRANT DELETE ON canvas.courses TO {alice}")
    corpus.admin(statement, role="alice")
    message = refused(corpus)
    assert named in message
    assert "Drop them, and recreate them after the sync" in message
    assert f"({drop})" in message
    corpus.admin(drop, role="alice")
    assert corpus.alter(WIDEN).broken == ()


def test_a_view_that_belongs_to_an_extension_is_named(corpus: World) -> None:
    corpus.admin("ALTER EXTENSION plpgsql ADD VIEW analytics.people")
    assert "view analytics.people belongs to the extension plpgsql" in refused(corpus)
    corpus.admin("ALTER EXTENSION plpgsql DROP VIEW analytics.people")


def test_views_that_select_from_each_other_in_a_circle_are_named(corpus: World) -> None:
    corpus.admin(
        "CREATE VIEW analytics.a AS SELECT name FROM canvas.users; CREATE VIEW analytics.b AS TABLE analytics.a;"
        "CREATE OR REPLACE VIEW analytics.a AS SELECT name FROM analytics.b UNION SELECT name FROM canvas.users",
        role="alice",
    )
    message = refused(corpus)
    assert "analytics.a" in message
    assert "cycle" in message


def test_a_temporary_view_of_another_session_is_named(corpus: World) -> None:
    with psycopg.connect(corpus.dsn, autocommit=True) as other:
        other.execute("CREATE TEMP VIEW scratch AS SELECT name FROM canvas.users")
        assert "temporary view scratch" in refused(corpus)
    assert corpus.alter(WIDEN).broken == ()
