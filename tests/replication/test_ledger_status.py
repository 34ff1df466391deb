"""What the ledger tells about all tables, how it is kept small, and how old installations get it."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta

import pytest

from cd2.replication.bookkeeping import status
from cd2.replication.database.connection import DatabaseTarget, Replica, connect
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import OddVolume
from cd2.tasks.reporting.replica import Questions, from_database, status_from_ledger
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, prepare, run
from tests.steps import init, sync

_COLUMNS_OF_STATUS = (
    "SELECT attname FROM pg_attribute WHERE attrelid = 'cd2.status'::regclass AND attnum > 0 ORDER BY attnum"
)


def asking(run_id: str | None) -> Questions:
    """What the report of a run without broken dependents asks."""
    return Questions(run_id, f"{run_id} 3", ())


def rows_of_users(target: DatabaseTarget) -> int:
    return int(execute(target, "SELECT count(*) FROM canvas.users"))


def fill(target: DatabaseTarget, tables: int, days: int, loads_per_day: int = 8) -> None:
    """A ledger as the DAG leaves it: the tables load one after the other, every three hours."""

    async def work() -> None:
        connection = await connect(target)
        await connection.execute(
            f"""
            INSERT INTO cd2.freshness (namespace, table_name, checked_at, data_as_of)
            SELECT 'canvas', 'table_' || t, now(), now() FROM generate_series(1, {tables}) t;
            INSERT INTO cd2.loads (namespace, table_name, at, action, state, data_as_of, rows_written, rows_deleted,
                                   rows_in_table, bytes_downloaded, seconds, schema_version, run_id)
            SELECT 'canvas', 'table_' || t, at + t * interval '1 second', 'sync', 'complete', at,
                   CASE WHEN t % 3 > 0 THEN 100 ELSE 0 END, t % 2, 1000, 12345, 0.5, 1, 'scheduled__' || at
            FROM (SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS day) today,
                 generate_series(day - interval '{days} days', now(), interval '{24 // loads_per_day} hours') at,
                 generate_series(1, {tables}) t;
            ANALYZE cd2.loads"""
        )
        await connection.close()

    run(work())


def test_the_status_of_all_tables_is_plain_json(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.users"))
    simulator.advance(tables=["canvas.users"], inserts=7, updates=3, deletes=2)
    synced = run(sync(replicator, "canvas.users"))
    unchanged = run(sync(replicator, "canvas.users"))
    found = run(status.read(replicator.replica))
    assert json.loads(json.dumps(found)) == found
    (table,) = found["tables"]
    assert list(table) == [
        *("table", "state", "checked", "data_as_of", "rows", "rows_written", "rows_deleted", "last_change"),
        *("failing_since", "error", "schema_version", "verified_at", "recent"),
    ]
    assert (table["table"], table["state"], table["rows_written"]) == ("canvas.users", "complete", 0)
    assert table["rows"] == rows_of_users(target)
    changed = synced.rows_upserted + synced.rows_deleted
    assert table["recent"] == [rows_of_users(target) - 7 + 2, changed, 0]
    assert unchanged.data_as_of
    as_of = datetime.fromisoformat(unchanged.data_as_of)
    assert datetime.fromisoformat(table["data_as_of"]) == as_of.replace(microsecond=0)
    assert datetime.fromisoformat(table["last_change"]) <= datetime.fromisoformat(table["checked"])
    assert len(found["volumes"]) == 30
    assert found["volumes"][-1]["day"] == datetime.now(UTC).date().isoformat()
    assert found["volumes"][-1]["rows_written"] >= table["recent"][0]


def test_an_empty_ledger_has_a_status_too(target: DatabaseTarget) -> None:
    found = run(status.read(Replica(target)))
    assert (found["tables"], found["schema_changes"]) == ([], [])
    assert {day["rows_written"] for day in found["volumes"]} == {0}


def test_what_a_day_brought_is_compared_with_the_same_weekdays(target: DatabaseTarget) -> None:
    fill(target, tables=4, days=60)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    found = run(status.changes(Replica(target), yesterday))
    assert set(found) == {TableName("canvas", f"table_{n}") for n in range(1, 5)}
    days = {yesterday - timedelta(weeks=n) for n in range(7)}
    assert found[TableName("canvas", "table_1")] == dict.fromkeys(days, 8 * 101)
    assert found[TableName("canvas", "table_3")] == dict.fromkeys(days, 8)


def test_days_after_an_outage_and_days_with_a_snapshot_are_left_out(target: DatabaseTarget) -> None:
    fill(target, tables=3, days=60)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    out, refreshed = yesterday - timedelta(weeks=1), yesterday - timedelta(weeks=2)
    # two days without a run: the loads of the next day have the changes of three
    on = "(at AT TIME ZONE 'UTC')::date"
    away = f"{on} BETWEEN '{out - timedelta(days=2)}' AND '{out - timedelta(days=1)}'"
    execute(target, f"DELETE FROM cd2.loads WHERE {away}")
    execute(target, f"UPDATE cd2.loads SET action = 'reinit' WHERE table_name = 'table_2' AND {on} = '{refreshed}'")
    found = run(status.changes(Replica(target), yesterday))
    days = {yesterday - timedelta(weeks=n) for n in range(7)}
    assert set(found[TableName("canvas", "table_1")]) == days - {out}
    assert set(found[TableName("canvas", "table_2")]) == days - {out, refreshed}


def test_an_odd_volume_is_reported_by_one_run_and_again_by_the_same(target: DatabaseTarget) -> None:
    day = date(2026, 3, 4)
    odd = [OddVolume(TableName("canvas", "users"), day, 4, 5000)]
    replica = Replica(target)
    assert run(status.report(replica, "first", day, odd)) == tuple(odd)
    assert run(status.report(replica, "second", day, odd)) == ()
    assert run(status.report(replica, "first", day, odd)) == tuple(odd)
    assert run(status.report(replica, "first", day + timedelta(days=1), [])) == ()


def test_a_starved_table_is_named_by_the_first_run_of_the_day(
    replicator: Replicator, target: DatabaseTarget, caplog: pytest.LogCaptureFixture
) -> None:
    fill(target, tables=8, days=60)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    of_yesterday = f"table_name = 'table_2' AND (at AT TIME ZONE 'UTC')::date = '{yesterday}'"
    starve = f"UPDATE cd2.loads SET rows_written = 0 WHERE {of_yesterday}"
    assert from_database(lambda: replicator, asking("first"))[1] == ()
    execute(target, starve)
    fresh, odd, _ = from_database(lambda: replicator, asking("second"))
    assert odd == (OddVolume(TableName("canvas", "table_2"), yesterday, 0, 800),)
    assert len(fresh) == 8
    assert from_database(lambda: replicator, asking("third"))[1] == ()
    assert from_database(lambda: replicator, asking(None))[1] == ()
    execute(target, "DROP TABLE cd2.volume_alerts")
    fresh, odd, _ = from_database(lambda: replicator, asking("fourth"))
    assert (len(fresh), odd) == (8, ())
    assert "Could not find out whether a table got an unusual number of changes" in caplog.text
    execute(target, "DROP TABLE cd2.freshness CASCADE")
    assert from_database(lambda: replicator, asking("fifth")) == ({}, (), None)
    assert status_from_ledger(lambda: replicator) == {}


def test_what_is_older_than_400_days_is_removed_step_by_step(target: DatabaseTarget) -> None:
    fill(target, tables=2, days=2)
    old = "now() - interval '401 days' - n * interval '1 minute'"
    for table in ("table_1", "table_2"):
        execute(
            target,
            "INSERT INTO cd2.loads (namespace, table_name, at, action, state, rows_written, rows_deleted, "
            f"bytes_downloaded, seconds) SELECT 'canvas', '{table}', {old}, 'sync', 'complete', 0, 0, 0, 0 "
            "FROM generate_series(1, 250) n",
        )
    change = f"'canvas', 'table_1', {old}, 1, 2, 'comment', 'x', 'x'"
    execute(target, f"INSERT INTO cd2.schema_changes SELECT {change} FROM generate_series(1, 3) n")
    alert = "'canvas', 'table_1', current_date - 401 - n, 1, 2, 'r'"
    execute(target, f"INSERT INTO cd2.volume_alerts SELECT {alert} FROM generate_series(1, 3) n")
    young = "SELECT count(*) FROM cd2.loads WHERE at > now() - interval '400 days'"
    kept = execute(target, young)
    left = []
    for _ in range(2):
        prepare(target)
        left.append(int(execute(target, "SELECT count(*) FROM cd2.loads")) - int(kept))
    assert left == [100, 0]
    assert execute(target, young) == kept
    assert execute(target, "SELECT count(*) FROM cd2.schema_changes") == "0"
    assert execute(target, "SELECT count(*) FROM cd2.volume_alerts") == "0"


def test_a_database_of_an_earlier_version_gets_the_ledger(target: DatabaseTarget) -> None:
    """Its cd2.freshness stays as it is, and its tables have a status."""
    execute(
        target,
        "INSERT INTO cd2.freshness (namespace, table_name, checked_at, data_as_of) "
        "VALUES ('canvas', 'users', '2026-01-02 03:00Z', '2026-01-02 01:00Z')",
    )
    execute(target, "DROP VIEW cd2.status")
    execute(target, "DROP TABLE cd2.loads, cd2.schema_changes, cd2.volume_alerts")
    before = fetch(target, "SELECT * FROM cd2.freshness")
    prepare(target)
    assert fetch(target, "SELECT * FROM cd2.freshness") == before
    (found,) = fetch(target, "SELECT state, checked_at, rows_in_table FROM cd2.status")
    assert tuple(found) == ("complete", datetime(2026, 1, 2, 3, tzinfo=UTC), None)


def test_a_status_of_an_earlier_version_gets_what_is_new(target: DatabaseTarget) -> None:
    names = [row[0] for row in fetch(target, _COLUMNS_OF_STATUS)]
    execute(target, "ALTER VIEW cd2.status SET SCHEMA public")
    execute(target, f"CREATE VIEW cd2.status AS SELECT {', '.join(names[:-1])} FROM public.status")
    prepare(target)
    assert [row[0] for row in fetch(target, _COLUMNS_OF_STATUS)] == names


def test_preparing_waits_for_no_reader_of_the_status(target: DatabaseTarget) -> None:
    async def work() -> None:
        reader = await connect(target)
        async with reader.transaction():
            await reader.fetch("SELECT * FROM cd2.status")
            await asyncio.to_thread(prepare, target)
        await reader.close()

    run(asyncio.wait_for(work(), 120))
