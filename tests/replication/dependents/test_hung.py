"""Users' objects in the way of a schema change: kept, noted or named, never lost without a word (see hung.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest

from cd2.replication.dependents.parts import Touched
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from cd2.replication.schema.alter import Alteration
from local.postgres import EmbeddedPostgres
from tests.replication.dependents.catalogue import difference
from tests.replication.dependents.changes import (
    BEFORE,
    CHANGES,
    TABLE,
    Hung,
    Outcome,
    change,
    make_table,
    plan_of,
    rolled_back,
    schema,
    try_change,
)
from tests.replication.dependents.hung import ON_THE_TABLE
from tests.replication.dependents.hung_elsewhere import ELSEWHERE
from tests.replication.dependents.world import NARROW, WIDEN, World

HUNG = ON_THE_TABLE | ELSEWHERE
DROPPED_VALUE = next(iter(CHANGES))


def became(outcome: Outcome) -> str:
    """In the words of `Hung.becomes`."""
    if outcome.failure:
        assert outcome.after == outcome.before
        return "named"
    if outcome.dependents.broken:
        assert outcome.noted
        assert len(outcome.noted) == len(outcome.dependents.broken)
        return "noted"
    if outcome.after is None:
        return "gone"
    return "kept" if outcome.after == outcome.before else "follows"


def check(database: str, hung: Hung, name: str) -> None:
    outcome = try_change(database, hung.sql, hung.probe, CHANGES[name])
    expected = dict(zip(CHANGES, hung.becomes.split(), strict=True))[name]
    assert became(outcome) == expected, outcome
    if outcome.failure:
        assert hung.drop
        assert hung.drop in outcome.failure.message
        assert "Nothing was changed" in outcome.failure.message
        assert try_change(database, f"{hung.sql};{hung.drop}", hung.probe, CHANGES[name]).failure is None


@pytest.fixture(scope="module")
def prepared(postgres: EmbeddedPostgres, new_prepared_database: Callable[[], str]) -> Iterator[str]:
    """The DSN of one database for all changes: each is rolled back."""
    name = new_prepared_database()
    yield postgres.dsn(name)
    postgres.drop_database(name)


@pytest.mark.parametrize("what", [what for what, hung in HUNG.items() if not hung.becomes.startswith("named")])
def test_a_dropped_enumeration_value_fails_no_table_and_costs_no_object(prepared: str, what: str) -> None:
    hung = HUNG[what]
    outcome = try_change(prepared, hung.sql, hung.probe, CHANGES[DROPPED_VALUE])
    assert outcome.failure is None
    assert outcome.after == outcome.before
    assert outcome.noted == ()
    assert outcome.type == ("{a,b,c}" if hung.keeps_value else "{a,b}")


@pytest.mark.slow
@pytest.mark.parametrize("what", HUNG)
def test_what_hangs_on_a_table_is_kept_or_noted_or_named(prepared: str, what: str) -> None:
    for name in CHANGES:
        check(prepared, HUNG[what], name)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("a partial index", "an enumeration becomes a text"),
        ("a WHEN trigger", "the column is dropped"),
        ("a function with a parsed body", "the column is dropped"),
        ("a publication of columns", "the column is dropped"),
        ("a foreign key to the key", "the key is another"),
    ],
)
def test_one_of_each_kind_of_outcome(prepared: str, what: str, name: str) -> None:
    check(prepared, HUNG[what], name)


@pytest.mark.parametrize("described", [schema(name=None), schema(n=None)])
def test_a_publication_whose_row_filter_loses_its_column_is_named(prepared: str, described: dict[str, Any]) -> None:
    """Without it a subscriber would miss rows, or get those that it must not have."""
    made = f"CREATE PUBLICATION mine FOR TABLE {TABLE.quoted} WHERE (name = 'x' AND n > 0) WITH (publish = 'insert')"
    outcome = try_change(prepared, made, "SELECT rowfilter FROM pg_publication_tables", described)
    assert outcome.failure
    assert "and must not vanish unnoticed. Run ALTER PUBLICATION mine DROP TABLE ONLY" in outcome.failure.message
    assert outcome.after == outcome.before


def test_what_was_dropped_is_there_again_before_any_row_is_written(prepared: str) -> None:
    """Otherwise triggers, constraints and subscribers would miss the rows of the load."""
    kinds = ("an UPDATE OF trigger", "a partial index", "a check", "a publication of columns", "a permissive policy")
    for kind in kinds:
        hung = HUNG[kind]

        async def work(connection: asyncpg.Connection, hung: Hung = hung) -> bool:
            await make_table(connection, hung.sql)
            plan = await plan_of(connection, CHANGES["an enumeration becomes a text"])
            assert plan.breaking
            alteration = Alteration(connection, TABLE, plan.touched, plan.leftovers)
            await alteration.run(plan.breaking)
            return await connection.fetchval(hung.probe) is not None

        assert rolled_back(prepared, work), kind


def test_what_broke_with_its_column_comes_back_with_it(prepared: str) -> None:
    hung = HUNG["a check"]

    async def work(connection: asyncpg.Connection) -> tuple[Dependents, Dependents, str, int]:
        await make_table(connection, hung.sql)
        lost = await change(connection, CHANGES["the column is dropped"])
        back = await change(connection, BEFORE, CHANGES["the column is dropped"])
        rows = await connection.fetchval("SELECT count(*) FROM cd2.broken_dependents")
        return lost, back, await connection.fetchval(hung.probe), rows

    lost, back, definition, rows = rolled_back(prepared, work)
    name = "constraint mine on canvas.things"
    assert (lost.broken, lost.restored) == ((name,), ())
    assert (back.broken, back.restored) == ((), (name,))
    assert definition.endswith("NOT VALID")
    assert rows == 0


def test_what_people_have_recreated_is_no_longer_retried(prepared: str) -> None:
    hung = HUNG["a partial index"]

    async def work(connection: asyncpg.Connection) -> Dependents:
        await make_table(connection, hung.sql)
        await change(connection, CHANGES["the column is dropped"])
        await connection.execute("CREATE INDEX mine ON canvas.things (name)")
        return await change(connection, BEFORE, CHANGES["the column is dropped"])

    assert rolled_back(prepared, work) == Dependents()


def test_comments_marks_and_states_of_recreated_objects_are_as_they_were(world: World) -> None:
    """By a plain role that owns the table; the statistics belong to another, of which it is a member."""
    world.admin(
        "CREATE FUNCTION canvas.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "ALTER TABLE canvas.users ALTER name SET NOT NULL;"
        "CREATE UNIQUE INDEX mine ON canvas.users (id, name) INCLUDE (school) WITH (fillfactor = 60);"
        "CREATE INDEX mine_lower ON canvas.users (lower(name) DESC) WHERE name > 'a';"
        "ALTER INDEX canvas.mine_lower ALTER COLUMN 1 SET STATISTICS 55;"
        "ALTER TABLE canvas.users CLUSTER ON mine, REPLICA IDENTITY USING INDEX mine;"
        "ALTER TABLE canvas.users ADD CONSTRAINT one UNIQUE (name, id) WITH (fillfactor = 55);"
        "ALTER TABLE canvas.users ADD CONSTRAINT part CHECK (name <> 'x') NOT VALID;"
        "COMMENT ON INDEX canvas.mine IS 'it''s'; COMMENT ON CONSTRAINT part ON canvas.users IS 'some';"
        "COMMENT ON CONSTRAINT one ON canvas.users IS 'one';"
        "CREATE TRIGGER noted BEFORE UPDATE OF name ON canvas.users FOR EACH ROW WHEN (NEW.name <> '')"
        " EXECUTE FUNCTION canvas.noted('a', 'b'); ALTER TABLE canvas.users ENABLE ALWAYS TRIGGER noted;"
        "COMMENT ON TRIGGER noted ON canvas.users IS 'noted';"
        "CREATE POLICY own ON canvas.users FOR SELECT TO {alice}, {bob} USING (name = current_user);"
        "CREATE POLICY fence ON canvas.users AS RESTRICTIVE TO {bob} USING (name <> '') WITH CHECK (name > 'b');"
        "COMMENT ON POLICY own ON canvas.users IS 'own';"
        "CREATE RULE gone AS ON DELETE TO canvas.users WHERE OLD.name = 'x'"
        " DO ALSO UPDATE canvas.courses SET title = OLD.name;"
        "ALTER TABLE canvas.users DISABLE RULE gone; COMMENT ON RULE gone ON canvas.users IS 'gone';"
        "CREATE STATISTICS canvas.pair ON name, school FROM canvas.users;"
        "CREATE STATISTICS analytics.expression ON (lower(name)) FROM canvas.users;"
        "ALTER STATISTICS analytics.expression SET STATISTICS 66; COMMENT ON STATISTICS analytics.expression IS 'e';",
        role="etl",
    )
    world.admin("ALTER STATISTICS analytics.expression OWNER TO {alice}; COMMENT ON COLUMN canvas.users.name IS 'n'")
    before = world.catalogue()

    async def work(connection: asyncpg.Connection) -> Dependents:
        alteration = Alteration(connection, TableName("canvas", "users"), Touched(changed=("name",)))
        for statement in (WIDEN, NARROW):
            await alteration.run(statement)
        return await alteration.finish()

    done = world.as_etl(work)
    assert done.broken == ()
    assert set(done.restored) >= {
        "trigger noted on canvas.users", "policy own on canvas.users", "policy fence on canvas.users",
        "rule gone on canvas.users", "statistics analytics.expression", "index canvas.mine_lower",
        "constraint part on canvas.users",
    }  # fmt: skip
    assert difference(before, world.catalogue()) == []


def test_an_object_of_a_role_that_we_cannot_become_is_named(world: World) -> None:
    world.admin("CREATE PUBLICATION theirs FOR TABLE canvas.users WHERE (name <> 'x') WITH (publish = 'insert')")
    before = world.catalogue()

    async def work(connection: asyncpg.Connection) -> None:
        await Alteration(connection, TableName("canvas", "users"), Touched(changed=("name",))).run(WIDEN)

    with pytest.raises(TableFailure) as raised:
        world.as_etl(work)
    assert "canvas.users in the publication theirs, which belongs to postgres, cannot be dropped" in str(raised.value)
    assert "Run ALTER PUBLICATION theirs DROP TABLE ONLY canvas.users" in str(raised.value)
    assert difference(before, world.catalogue()) == []
