"""A verification names exactly what differs from DAP's snapshot, and a repair makes it equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.errors import TableFailure, TransientError, WaitError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult, Verification
from cd2.replication.verification import asking
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.conftest import NewDatabase
from tests.replication.replica import assert_equal, execute, make_replicator, run, target_of
from tests.replication.verifying import compared, differences, rows_of, verify
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


def outcome(result: TableResult) -> Verification:
    assert result.state in ("complete", "complete_with_schema_update")
    assert result.verification is not None
    return result.verification


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


def test_an_old_snapshot_that_is_served_again_is_compared_exactly(
    table: str, replicator: Replicator, simulator: SimulatorControl
) -> None:
    outcome(verify(replicator, table))
    simulator.advance(tables=[table], inserts=20, updates=20, deletes=20)
    run(sync(replicator, table))
    simulator.advance(tables=[table], inserts=5, updates=5, deletes=5)
    simulator.fault("canvas", "moving", "old_snapshot")
    found = outcome(verify(replicator, table))
    assert found.outcome == "equal"
    assert found.rows_left_out >= 60


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


def test_a_change_that_is_made_while_the_table_is_verified_is_no_difference(
    table: str, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between snapshot and changes: those keys are left out."""

    async def work() -> TableResult:
        name = TableName.parse(table)
        cursor = await replicator.cursor(name)
        assert cursor
        ask = asking.ask_for_both

        async def with_changes(asks: Any, *rest: Any) -> Any:
            async def moved(since: datetime | None) -> Any:
                job = await asks(since)
                if since is None:
                    simulator.advance(tables=[table], inserts=9, updates=8, deletes=7)
                return job

            return await ask(moved, *rest)

        monkeypatch.setattr(asking, "ask_for_both", with_changes)
        jobs = await replicator.verification.ask(name, cursor, tries=3, place=None)
        return await replicator.verification.verify(name, *jobs)

    found = outcome(run(work()))
    assert found.outcome == "equal"
    assert found.rows_left_out >= 24
    assert found.rows_compared <= 300 - 15


def test_what_dap_says_about_time_is_awaited_once_and_then_told(
    table: str, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that end before the snapshot: DAP's clock stands there for incrementals."""
    monkeypatch.setattr(asking, "LATER_S", 0.01)
    behind = [2]

    async def work() -> tuple[str, str]:
        name = TableName.parse(table)
        cursor = await replicator.cursor(name)
        assert cursor
        ask = asking.ask_for_both

        async def standing(asks: Any, *rest: Any) -> Any:
            async def late(since: datetime | None) -> Any:
                job = await asks(since)
                if since is None or not behind[0]:
                    return job
                behind[0] -= 1
                return replace(job, as_of=job.as_of - timedelta(hours=1))

            return await ask(late, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(asking, "ask_for_both", standing)
            return await replicator.verification.ask(name, cursor, tries=3, place=None)

    with pytest.raises(WaitError, match=r"DAP's changes end at .*, before its snapshot as of"):
        run(work())
    snapshots = simulator.stats()["jobs"][table]
    behind[0] = 1
    assert all(run(work()))
    # The snapshot of the first attempt is used: only changes were asked for.
    assert simulator.stats()["jobs"][table] == snapshots + 2


def test_a_snapshot_that_waits_is_used_by_the_next_attempt(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    name = TableName.parse(table)

    async def ask() -> tuple[str, str]:
        cursor = await replicator.cursor(name)
        assert cursor
        return await replicator.verification.ask(name, cursor, tries=3, place=None)

    snapshot, _ = run(ask())
    simulator.advance(tables=[table], inserts=5, updates=5, deletes=5)
    # A sync of another run in between moves the cursor beyond the snapshot.
    run(sync(replicator, table))
    again, changes = run(ask())
    assert again == snapshot
    assert outcome(run(replicator.verification.verify(name, again, changes))).outcome == "equal"
    assert run(ask())[0] != snapshot


def test_a_cursor_that_another_process_moves_meanwhile_postpones_the_comparison(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    name = TableName.parse(table)

    async def ask() -> tuple[str, str]:
        cursor = await replicator.cursor(name)
        assert cursor
        return await replicator.verification.ask(name, cursor, tries=3, place=None)

    snapshot, changes = run(ask())
    simulator.advance(tables=[table], inserts=5)
    execute(target, "DELETE FROM cd2.jobs")  # as if it had another DAP key
    run(sync(replicator, table))
    with pytest.raises(TransientError, match="another process has moved its cursor"):
        run(replicator.verification.verify(name, snapshot, changes))
    assert execute(target, "SELECT job_id FROM cd2.verifying") == snapshot


def test_a_schema_that_changes_meanwhile_postpones_the_comparison_and_not_the_sync(
    table: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    name = TableName.parse(table)

    async def work() -> TableResult:
        cursor = await replicator.cursor(name)
        assert cursor
        snapshot, _ = await replicator.verification.ask(name, cursor, tries=3, place=None)
        async with connected(target) as connection:
            await connection.execute("DELETE FROM cd2.jobs")
        simulator.alter("canvas", "moving", "add_column", "late", type="s20", backfill=True)
        return await replicator.verification.verify(name, snapshot, await replicator.ask(name, cursor))

    result = run(work())
    found = outcome(result)
    assert (result.state, found.outcome) == ("complete_with_schema_update", "postponed")
    assert "its schema has just changed" in str(found)
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"
    assert_equal(simulator, database, table)
    assert outcome(verify(replicator, table)).outcome == "equal"


def test_rows_that_dap_no_longer_keeps_are_no_difference_and_stay(replicator: Replicator, database: str) -> None:
    logs = "canvas_logs.web_logs"
    run(init(replicator, logs))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE older AS SELECT * FROM canvas_logs.web_logs LIMIT 5")
        connection.execute("UPDATE older SET id = gen_random_uuid()")
        connection.execute("INSERT INTO canvas_logs.web_logs SELECT * FROM older")
    before = rows_of(database, logs, "id")
    found = outcome(verify(replicator, logs, repair=True))
    assert (found.outcome, found.extra, found.rows_kept) == ("equal", 0, 5)
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


def test_a_verification_corrects_the_number_of_rows(table: str, replicator: Replicator, target: DatabaseTarget) -> None:
    execute(target, f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT 10)")
    number = "SELECT row_count FROM cd2.row_counts WHERE table_name = 'moving'"
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


def test_a_broken_snapshot_fails_only_who_asked_for_it(
    table: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.advance(tables=[table], inserts=5)
    simulator.fault("canvas", "moving", "missing_column", column="score")
    found = outcome(verify(replicator, table, requested=False))
    assert found.outcome == "postponed"
    assert "lacks score" in str(found)
    assert_equal(simulator, database, table)
    simulator.fault("canvas", "moving", "missing_column", column="score")
    with pytest.raises(TableFailure, match="lacks score") as caught:
        verify(replicator, table)
    assert caught.value.result is not None
    assert caught.value.result.action == "sync"


def test_an_increment_that_dap_no_longer_has_leads_to_a_new_init(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.fault("canvas", "moving", "snapshot_required")
    assert verify(replicator, table).state == "needs_init"
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"


def test_an_old_snapshot_whose_changes_are_gone_is_told_and_initializes_nothing(
    table: str, replicator: Replicator, simulator: SimulatorControl
) -> None:
    outcome(verify(replicator, table))
    simulator.advance(tables=[table], inserts=5)
    run(sync(replicator, table))
    simulator.fault("canvas", "moving", "old_snapshot")
    simulator.fault("canvas", "moving", "out_of_range")
    with pytest.raises(TableFailure, match="DAP served an old snapshot"):
        verify(replicator, table)
