"""Names of columns that PostgreSQL cannot hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from cd2.replication.schema.naming import column_names
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, fetch, run
from tests.steps import init, sync

TABLE = "canvas.things"
LONG = "the_number_of_submissions_that_were_graded_before_the_end_of_the_"
assert len(LONG) > 63


@pytest.fixture
def made(simulator: SimulatorControl, replicator: Replicator) -> Callable[[str], None]:
    """Makes the table with twelve rows, and initializes it."""

    def make(columns: str) -> None:
        simulator.add_table("canvas", "things", columns, rows=12)
        run(init(replicator, TABLE))

    return make


def columns(target: DatabaseTarget) -> list[str]:
    query = f"SELECT attname FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass AND attnum > 0 AND NOT attisdropped"
    return [row[0] for row in fetch(target, f"{query} ORDER BY attnum")]


def test_long_names_are_distinct_and_stay_the_same(
    made: Callable[[str], None], simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    made(f"{LONG}one:i64? {LONG}two:enum(a|b)? short:text?")
    names = columns(target)
    assert len(set(names)) == len(names) == 4
    truth = values(simulator)
    for turn in range(3):
        # Before the others in their order, and with the same beginning.
        simulator.alter("canvas", "things", "add_column", f"{LONG}another{turn}", type="text", backfill=True)
        simulator.advance(0.5, [TABLE])
        assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
        assert columns(target)[:4] == names
        truth = values(simulator)
        quoted = ", ".join(f'"{name}"::text' for name in columns(target)[:4])
        assert [list(row) for row in fetch(target, f"SELECT {quoted} FROM {TABLE} t ORDER BY t.id")] == truth
    assert run(init(replicator, TABLE)).action == "reinit"
    assert columns(target)[:4] == names
    simulator.alter("canvas", "things", "drop_column", f"{LONG}one")
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert names[1] not in columns(target)


def values(simulator: SimulatorControl) -> list[list[str | None]]:
    """The first four values of each row, as PostgreSQL writes them."""
    _, *rows = simulator.truth("canvas", "things")
    return [[None if value is None else str(value) for value in row[:4]] for row in rows]


def test_a_column_whose_long_name_postgresql_cut_goes_on_under_its_own(
    made: Callable[[str], None], simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    """The official client, and this package before, left the cutting to PostgreSQL."""
    made(f"{LONG}one:i64? short:text?")
    name = columns(target)[1]
    execute(target, f'ALTER TABLE {TABLE} RENAME COLUMN "{name}" TO "{LONG[:63]}"')
    before = execute(target, f'SELECT array_agg("{LONG[:63]}" ORDER BY id)::text FROM {TABLE}')
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert columns(target) == ["id", name, "short"]
    assert execute(target, f'SELECT array_agg("{name}" ORDER BY id)::text FROM {TABLE}') == before


@pytest.mark.parametrize(
    "names",
    [
        [LONG, LONG + "x", LONG + "y", LONG[:63]],
        ["ü" * 31 + "a", "ü" * 32, "ü" * 40, "日本語" * 10],
        ["xmin", "ctid", "tableoid", "oid", "", "Id", "id", 'a "b"', "a.b"],
        [LONG + "x", column_names([LONG + "x"])[LONG + "x"]],
    ],
)
def test_names_are_distinct_fit_and_do_not_depend_on_their_order(names: list[str]) -> None:
    found = column_names(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert all(0 < len(name.encode()) <= 63 for name in found.values())
    assert column_names(reversed(names)) == found
    kept = [name for name in names if 0 < len(name.encode()) <= 63 and name not in ("xmin", "ctid", "tableoid")]
    assert all(found[name] == name for name in kept)


def test_names_that_postgresql_keeps_for_itself_are_replicated(
    made: Callable[[str], None], simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    made("xmin:i64? select:text?")
    simulator.advance(0.5, [TABLE])
    assert run(sync(replicator, TABLE)).state == "complete"
    name = columns(target)[1]
    assert name.startswith("xmin_")
    assert [row[0] for row in fetch(target, f'SELECT "{name}"::text FROM {TABLE} t ORDER BY t.id')] == [
        row[1] for row in values(simulator)
    ]


def test_a_table_with_the_longest_name_has_enumerations(
    simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    """Cut to 63 bytes, the name of the type was that of the table, which has a type of its own."""
    table = "t" * 63
    simulator.add_table("canvas", table, "kind:enum(x|y)? other:enum(x|z)?", rows=12)
    run(init(replicator, f"canvas.{table}"))
    simulator.advance(0.5, [f"canvas.{table}"])
    assert run(sync(replicator, f"canvas.{table}")).state == "complete"
    assert_equal(simulator, database, f"canvas.{table}")
