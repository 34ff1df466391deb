"""`cd2.status` says how many rows each table has, exactly, after whatever was loaded."""

from __future__ import annotations

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, run
from tests.steps import init, sync


def noted(target: DatabaseTarget, table: str) -> int:
    return int(execute(target, f"SELECT rows_in_table FROM cd2.status WHERE table_name = '{table}'"))


def there(target: DatabaseTarget, table: str) -> int:
    return int(execute(target, f"SELECT count(*) FROM {table}"))


@pytest.mark.parametrize("table", ["canvas.accounts", "canvas_logs.web_logs", "canvas.courses"])
def test_the_rows_are_known_after_each_load(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    _, name = table.split(".")
    run(init(replicator, table))
    assert noted(target, name) == there(target, table)
    for changes in ({"inserts": 30}, {"deletes": 7}, {"inserts": 5, "updates": 9, "deletes": 11}, {"updates": 3}, {}):
        simulator.advance(tables=[table], **changes)
        run(sync(replicator, table))
        assert noted(target, name) == there(target, table), changes
    run(init(replicator, table))
    assert noted(target, name) == there(target, table)


def test_a_sync_counts_on_without_reading_the_table(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.accounts"))
    execute(target, "UPDATE cd2.loads SET rows_in_table = rows_in_table + 1000")
    simulator.advance(tables=["canvas.accounts"], inserts=5, deletes=2)
    run(sync(replicator, "canvas.accounts"))
    assert noted(target, "accounts") == there(target, "canvas.accounts") + 1000


def test_a_schema_change_that_rewrites_the_table_counts_no_row_twice(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "counted", "*id:i64 name:s50? score:i32?", 50)
    run(init(replicator, "canvas.counted"))
    simulator.alter("canvas", "counted", "retype", "score", type="text")
    simulator.advance(tables=["canvas.counted"], inserts=4, deletes=3)
    run(sync(replicator, "canvas.counted"))
    assert noted(target, "counted") == there(target, "canvas.counted") == 51


def test_rows_are_counted_where_somebody_else_has_moved_the_cursor(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    run(init(replicator, "canvas.accounts"))
    with psycopg.connect(database, autocommit=True) as connection:
        # As the official client does, or a load of a version that kept no numbers.
        connection.execute("DELETE FROM canvas.accounts WHERE id = (SELECT min(id) FROM canvas.accounts)")
        connection.execute("UPDATE cd2.loads SET data_as_of = data_as_of - interval '1 hour'")
    simulator.advance(tables=["canvas.accounts"], updates=3)
    run(sync(replicator, "canvas.accounts"))
    assert noted(target, "accounts") == there(target, "canvas.accounts")


def test_a_load_that_begins_again_because_of_a_constraint_counts_no_row_twice(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "counted", "n:uuid note:text?", 12)
    run(init(replicator, "canvas.counted"))
    cursor = execute(target, "SELECT timestamp FROM instructure_dap.table_sync")
    simulator.advance(tables=["canvas.counted"], updates=12)
    run(sync(replicator, "canvas.counted"))
    (one, first), (two, second) = fetch(target, "SELECT id, n FROM canvas.counted ORDER BY id LIMIT 2")
    moved = f"n = CASE id WHEN {one} THEN '{second}' ELSE '{first}' END::uuid WHERE id IN ({one}, {two})"
    execute(target, f"UPDATE canvas.counted SET {moved}")
    execute(target, f"CREATE UNIQUE INDEX mine ON canvas.counted (n) WHERE id IN ({one}, {two})")
    # All changes come again, with some more.
    execute(target, f"UPDATE instructure_dap.table_sync SET timestamp = '{cursor}'")
    execute(target, f"UPDATE cd2.loads SET data_as_of = '{cursor}'::timestamp AT TIME ZONE 'UTC'")
    simulator.advance(tables=["canvas.counted"], inserts=9)
    assert run(sync(replicator, "canvas.counted")).rows_upserted == 11
    assert noted(target, "counted") == there(target, "canvas.counted") == 21
