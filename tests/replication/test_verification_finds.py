"""A verification names exactly what differs from DAP's snapshot, and a repair makes it equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from cd2.settings import Settings
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.conftest import NewDatabase
from tests.replication.replica import assert_equal, execute, make_replicator, run, target_of
from tests.replication.verifying import compared, differences, outcome, rows_of, verify
from tests.steps import init, sync

NAME, KEY = "canvas.moving", "id"
COLUMNS = (
    "*id:i64 name:s50? score:i32? kind:enum(a|b|c)? tags:text[]? settings:json? ratio:f64? points:num(8,2)? at:ts?"
)

Truth = Callable[[str], str]


@pytest.fixture
def table(simulator: SimulatorControl, replicator: Replicator) -> str:
    """A replicated table with a column of each kind that is compared in its own way."""
    simulator.add_table("canvas", "moving", COLUMNS, 300)
    run(init(replicator, NAME))
    return NAME


@pytest.fixture
def truth(
    simulator: SimulatorControl, postgres: EmbeddedPostgres, new_prepared_database: NewDatabase
) -> Iterator[Truth]:
    """Makes a second replica of a table, from a snapshot that has no faults; returns its DSN."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(new_prepared_database())
        dsn = postgres.dsn(made[-1])
        run(init(make_replicator(simulator, target_of(dsn)), name))
        return dsn

    yield make
    for name in made:
        postgres.drop_database(name)


def test_a_table_without_damage_is_equal(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.advance(tables=[table], inserts=20, updates=30, deletes=10)
    found = outcome(verify(replicator, table))
    assert (found.outcome, found.differences, found.rows_compared) == ("equal", 0, 310)
    assert str(found).startswith("verified, equal: 310 rows compared as of ")
    assert execute(target, "SELECT outcome FROM cd2.verifications") == "equal"
    assert execute(target, "SELECT count(*) FROM cd2.verification_differences") == "0"
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"
    assert execute(target, "SELECT count(*) FROM cd2.jobs") == "0"


@pytest.mark.parametrize("fault", ["lost_changes", "altered_changes"])
def test_what_increments_lost_or_altered_is_named_and_repaired(
    fault: str,
    table: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    truth: Truth,
) -> None:
    simulator.fault("canvas", "moving", fault, every=3)
    simulator.advance(tables=[table], inserts=40, updates=40, deletes=40)
    run(sync(replicator, table))
    expected = compared(rows_of(database, table, KEY), rows_of(truth(table), table, KEY))
    assert sum(map(len, expected.values())) > 10

    found = outcome(verify(replicator, table))
    assert found.outcome == "different"
    assert differences(database, table) == expected
    assert (found.missing, found.extra, found.different) == tuple(map(len, expected.values()))
    assert sum(found.columns.values()) >= found.different

    repaired = outcome(verify(replicator, table, repair=True))
    assert (repaired.outcome, repaired.differences) == ("repaired", found.differences)
    assert_equal(simulator, database, table)
    assert outcome(verify(replicator, table)).outcome == "equal"


@pytest.mark.parametrize("fault", ["lost_rows", "altered_rows"])
def test_what_a_snapshot_lost_or_altered_is_named(
    fault: str, table: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    before = rows_of(database, table, KEY)
    simulator.fault("canvas", "moving", fault, every=4)
    found = outcome(verify(replicator, table))
    kind = {"lost_rows": "extra", "altered_rows": "different"}[fault]
    assert {name: len(keys) for name, keys in differences(database, table).items() if keys} == {kind: 75}
    assert found.differences == 75
    assert rows_of(database, table, KEY) == before
    if fault == "altered_rows":
        assert found.columns == {"name": 75}
        assert "75 different (by column: name 75)" in str(found)


def test_an_empty_snapshot_is_told_and_repairs_nothing(
    table: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.fault("canvas", "moving", "no_objects")
    found = outcome(verify(replicator, table))
    assert (found.outcome, found.extra, found.rows_compared) == ("different", 300, 0)
    simulator.fault("canvas", "moving", "no_objects")
    with pytest.raises(TableFailure, match=r"the snapshot is empty, but the table has 300 row\(s\)") as caught:
        verify(replicator, table, repair=True)
    assert caught.value.result is not None
    assert (caught.value.result.state, caught.value.result.data_as_of is not None) == ("failed", True)
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"
    assert_equal(simulator, database, table)


def test_rows_that_dap_no_longer_keeps_are_no_difference_and_stay(
    simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    logs = "canvas_logs.web_logs"
    replicator = make_replicator(simulator, target, append_only=Settings().append_only_tables)
    run(init(replicator, logs))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE older AS SELECT * FROM canvas_logs.web_logs LIMIT 5")
        connection.execute("UPDATE older SET id = gen_random_uuid()")
        connection.execute("INSERT INTO canvas_logs.web_logs SELECT * FROM older")
    before = rows_of(database, logs, "id")
    found = outcome(verify(replicator, logs, repair=True))
    assert (found.outcome, found.extra, found.rows_kept) == ("equal", 0, 5)
    assert str(found).endswith(", and 5 that DAP no longer has were not")
    assert rows_of(database, logs, "id") == before


def test_columns_of_people_are_neither_compared_nor_repaired(
    table: str, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, f"ALTER TABLE {table} ADD COLUMN our_note text DEFAULT 'kept'")
    execute(target, f"UPDATE {table} SET score = coalesce(score, 0) / 2 + 1")
    found = outcome(verify(replicator, table, repair=True))
    assert (found.outcome, set(found.columns)) == ("repaired", {"score"})
    assert execute(target, f"SELECT count(*) FROM {table} WHERE our_note = 'kept'") == "300"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("settings", "(settings::text)::jsonb"),
        ("ratio", "CASE WHEN ratio = 0 THEN -ratio ELSE ratio END"),
        ("points", "(points::text || '0')::numeric"),
    ],
)
def test_values_are_compared_and_not_how_they_are_written(
    column: str, value: str, table: str, replicator: Replicator, target: DatabaseTarget
) -> None:
    """NaN, infinities, -0.0, NULL, enumerations and arrays are among the simulator's values."""
    execute(target, f"UPDATE {table} SET {column} = {value} WHERE {column} IS NOT NULL")
    assert outcome(verify(replicator, table)).outcome == "equal"


def test_a_key_of_two_columns_is_named_as_both(
    replicator: Replicator, simulator: SimulatorControl, database: str, truth: Truth
) -> None:
    simulator.add_table("canvas", "pairs", "*left_id:i64 *right_name:s20 score:i32?", 60)
    run(init(replicator, "canvas.pairs"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM canvas.pairs WHERE ctid IN (SELECT ctid FROM canvas.pairs LIMIT 3)")
        connection.execute("UPDATE canvas.pairs SET left_id = left_id + 1000 WHERE left_id = 7")
        connection.execute("UPDATE canvas.pairs SET score = coalesce(score, 0) / 2 + 1 WHERE left_id = 9")
    key = ("left_id", "right_name")
    expected = compared(rows_of(database, "canvas.pairs", *key), rows_of(truth("canvas.pairs"), "canvas.pairs", *key))
    assert all(expected.values())
    found = outcome(verify(replicator, "canvas.pairs", repair=True))
    assert differences(database, "canvas.pairs") == expected
    assert found.outcome == "repaired"
    assert_equal(simulator, database, "canvas.pairs")


def test_columns_may_have_any_name(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """Also those that our own statements use."""
    simulator.add_table("canvas", "named", "*name:s20 *s:i64 t:i32? d:i32? kind:text? place:i32?", 60)
    run(init(replicator, "canvas.named"))
    execute(target, "UPDATE canvas.named SET t = coalesce(t, 0) / 2 + 1, kind = 'other' WHERE s % 2 = 0")
    found = outcome(verify(replicator, "canvas.named", repair=True))
    assert (found.outcome, set(found.columns)) == ("repaired", {"t", "kind"})
    assert_equal(simulator, database, "canvas.named")


def test_keys_are_noted_up_to_a_thousand_and_counted_beyond(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    simulator.add_table("canvas", "many", "*id:i64 score:i32?", 2_500)
    run(init(replicator, "canvas.many"))
    execute(target, "UPDATE canvas.many SET score = coalesce(score, 0) / 2 + 1")
    found = outcome(verify(replicator, "canvas.many", repair=True))
    assert found.different > 2_000
    assert execute(target, "SELECT count(*) FROM cd2.verification_differences") == "1000"
    assert_equal(simulator, database, "canvas.many")


def test_a_key_that_is_too_long_to_be_noted_is_counted(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    """A key that fits into the table's index may not fit into ours."""
    simulator.add_table("canvas", "long", "*id:s2700 score:i32?", 20)
    run(init(replicator, "canvas.long"))
    text = "SELECT string_agg(chr(33 + (random() * 90)::int), '') FROM generate_series(1, {})"
    execute(target, f"INSERT INTO canvas.long (id) SELECT ({text.format(2650)}) UNION SELECT ({text.format(90)})")
    assert outcome(verify(replicator, "canvas.long")).extra == 2
    assert execute(target, "SELECT count(*) FROM cd2.verification_differences") == "1"


def test_a_verification_corrects_the_number_of_rows(table: str, replicator: Replicator, target: DatabaseTarget) -> None:
    execute(target, f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT 10)")
    number = "SELECT rows_in_table FROM cd2.status WHERE table_name = 'moving'"
    assert execute(target, number) == "300"
    assert outcome(verify(replicator, table)).missing == 10
    assert execute(target, number) == "290"
    verify(replicator, table, repair=True)
    assert execute(target, number) == "300"


def test_a_trigger_that_keeps_rows_from_a_repair_is_named(
    table: str, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, f"UPDATE {table} SET score = coalesce(score, 0) / 2 + 1")
    execute(target, "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    execute(target, f"CREATE TRIGGER keep BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION public.keep()")
    with pytest.raises(TableFailure, match="the table has keep: drop or disable it"):
        verify(replicator, table, repair=True)
    assert execute(target, "SELECT count(*) FROM cd2.verifications") == "0"
