"""Collations that users give columns: texts are told apart by what they say, and the collation stays."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, fetch, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

WORDS = "canvas.words"
# The PostgreSQL from PyPI has no ICU. There the catalog only says that texts may be equal without being the same: that
# is what we go by, and it can be tried nowhere else.
ANY_CASE = """
DO $$
BEGIN
    CREATE COLLATION public.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
EXCEPTION WHEN feature_not_supported THEN
    CREATE COLLATION public.any_case (provider = libc, locale = 'C');
    UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'any_case';
END $$;
"""
UPPER = f"UPDATE {WORDS} SET short = upper(short), long = upper(long), list = upper(list::text)::text[]"
GIVEN = f"""
SELECT attname, attcollation::regcollation::text FROM pg_attribute
WHERE attrelid = '{WORDS}'::regclass AND attcollation NOT IN (0, 'pg_catalog."default"'::regcollation) ORDER BY 1"""


@pytest.fixture
def words(simulator: SimulatorControl, replicator: Replicator) -> str:
    simulator.add_table("canvas", "words", "*code:s20 *n:i64 short:s40? long:text? list:text[]? kind:enum(a|b)?", 200)
    run(init(replicator, WORDS))
    return WORDS


def give(database: str, collation: str, *columns: str) -> None:
    types = {"code": "varchar(20)", "short": "varchar(40)", "long": "text", "list": "text[]"}
    changes = ", ".join(f"ALTER COLUMN {name} TYPE {types[name]} COLLATE {collation}" for name in columns)
    admin(database, f"{ANY_CASE} ALTER TABLE {WORDS} {changes}")


@pytest.mark.parametrize("collation", ['pg_catalog."C"', 'pg_catalog."POSIX"', "public.any_case"])
def test_what_counts_as_equal_in_a_user_s_collation_is_told_apart(
    collation: str, words: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    give(database, collation, "short", "long", "list", *(["code"] if collation != "public.any_case" else []))
    admin(database, UPPER)
    found = outcome(verify(replicator, words, repair=True))
    assert found.outcome == "repaired"
    assert found.different > 100
    assert set(found.columns) == {"short", "long", "list"}
    assert_equal(simulator, database, words)

    admin(database, UPPER)
    assert run(init(replicator, words)).rows_upserted == found.different
    assert_equal(simulator, database, words)


def test_a_changed_case_reaches_a_column_whose_collation_ignores_it(
    words: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    give(database, "public.any_case", "short", "long", "list")
    since = execute(target, "SELECT timestamp::text FROM instructure_dap.table_sync")
    simulator.advance(tables=[words], inserts=20, updates=200)
    run(sync(replicator, words))
    admin(database, UPPER)
    execute(target, f"UPDATE instructure_dap.table_sync SET timestamp = '{since}'")
    assert run(sync(replicator, words)).rows_upserted > 100
    assert_equal(simulator, database, words)


def test_a_collation_stays_when_the_type_changes(
    words: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    give(database, 'pg_catalog."C"', "short", "long", "list", "code")
    before = fetch(target, GIVEN)
    assert len(before) == 4
    simulator.alter("canvas", "words", "widen", "short", type="s200")
    simulator.alter("canvas", "words", "retype", "long", type="s100")
    simulator.alter("canvas", "words", "retype", "list", type="s90[]")
    assert run(sync(replicator, words)).state == "complete_with_schema_update"
    assert_equal(simulator, database, words)
    assert fetch(target, GIVEN) == before
    simulator.alter("canvas", "words", "retype", "short", type="i64")
    simulator.alter("canvas", "words", "retype", "long", type="enum(x|y)")
    if run(sync(replicator, words)).state == "needs_init":
        run(init(replicator, words))
    assert_equal(simulator, database, words)
    assert [name for name, _ in fetch(target, GIVEN)] == ["code", "list"]


def test_a_key_whose_collation_takes_one_text_for_another_fails(
    words: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    give(database, "public.any_case", "code")
    simulator.advance(tables=[words], inserts=5, updates=5)
    before = fetch(target, f"SELECT w::text FROM {words} w ORDER BY 1")
    for load in (sync, init):
        with pytest.raises(TableFailure) as caught:
            run(load(replicator, words))
        assert "in the collation of its key (code) different texts are equal" in caught.value.message
        assert 'ALTER COLUMN "code" TYPE varchar(20) COLLATE "default"' in caught.value.message
    assert fetch(target, f"SELECT w::text FROM {words} w ORDER BY 1") == before
    admin(database, 'ALTER TABLE "canvas"."words" ALTER COLUMN "code" TYPE varchar(20) COLLATE "default"')
    run(sync(replicator, words))
    assert_equal(simulator, database, words)
