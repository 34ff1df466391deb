"""Verification beside what others do: the official client, triggers of people, and snapshots that are never of use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from cd2.replication.verification import journal
from cd2.replication.verification.comparison import Comparison
from cd2.replication.verification.journal import History
from cd2.replication.verification.verifier import Verifier
from cd2.settings import Settings
from cd2.tasks.verifying import due
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, run
from tests.replication.verifying import outcome, verify
from tests.steps import init

NAME = TableName("canvas", "moving")
OTHER = TableName("canvas", "roles")


@pytest.fixture
def table(simulator: SimulatorControl, replicator: Replicator) -> str:
    """A replicated table."""
    simulator.add_table("canvas", "moving", "*id:i64 name:s50? score:i32?", 300)
    run(init(replicator, NAME))
    return str(NAME)


def try_on_its_own(replicator: Replicator, *, last_try: bool) -> TableResult:
    """One try at a verification that nobody has asked for."""

    async def work() -> TableResult:
        cursor = await replicator.cursor(NAME)
        assert cursor
        jobs = await Verifier(replicator).ask(NAME, cursor, tries=3, place=None)
        return await Verifier(replicator).verify(NAME, *jobs, requested=False, last_try=last_try)

    return run(work())


# -- the official client ---------------------------------------------------------------------------


@pytest.mark.parametrize("repair", [False, True])
def test_what_the_official_client_loads_meanwhile_is_no_difference_and_stays(
    repair: bool, table: str, replicator: Replicator, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows nothing of the table's lock: it may commit newer rows, and their cursor, before the comparison."""
    find = Comparison.find

    async def find_later(comparison: Comparison) -> int:
        with psycopg.connect(database) as client:
            client.execute(f"UPDATE {table} SET name = 'newer' WHERE id IN (SELECT id FROM {table} LIMIT 7)".encode())
            client.execute("UPDATE instructure_dap.table_sync SET timestamp = timestamp + interval '1 minute'")
        return await find(comparison)

    with monkeypatch.context() as patch:
        patch.setattr(Comparison, "find", find_later)
        with pytest.raises(TransientError, match="another process has moved its cursor"):
            verify(replicator, table, repair=repair)
    with psycopg.connect(database) as connection:
        assert connection.execute(f"SELECT count(*) FROM {table} WHERE name = 'newer'".encode()).fetchone() == (7,)
        assert connection.execute("SELECT count(*) FROM cd2.verifications").fetchone() == (0,)


# -- triggers of people ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trigger",
    [
        "BEFORE INSERT OR UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION public.shout()",
        "AFTER INSERT OR UPDATE ON {0} FOR EACH ROW WHEN (pg_trigger_depth() = 0) "
        "EXECUTE FUNCTION public.shout_later()",
    ],
)
def test_a_repair_whose_rows_a_trigger_changes_is_not_called_a_repair(
    trigger: str, table: str, replicator: Replicator, target: DatabaseTarget, simulator: SimulatorControl, database: str
) -> None:
    execute(target, f"UPDATE {table} SET name = 'SHOUTED'")
    function = "CREATE FUNCTION public.{}() RETURNS trigger LANGUAGE plpgsql AS '{}'"
    execute(target, function.format("shout", "BEGIN NEW.name = ''changed''; RETURN NEW; END"))
    later = f"BEGIN UPDATE {table} SET name = ''changed'' WHERE id = NEW.id; RETURN NULL; END"
    execute(target, function.format("shout_later", later))
    execute(target, f"CREATE TRIGGER loud {trigger.format(table)}")
    with pytest.raises(TableFailure, match=r"row\(s\) still differ after the repair: a user's trigger changes"):
        verify(replicator, table, repair=True)
    assert execute(target, f"SELECT count(*) FROM {table} WHERE name <> 'SHOUTED'") == "0"
    assert execute(target, "SELECT count(*) FROM cd2.verifications") == "0"
    execute(target, f"ALTER TABLE {table} DISABLE TRIGGER loud")
    assert outcome(verify(replicator, table, repair=True)).outcome == "repaired"
    assert_equal(simulator, database, table)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "UPDATE {0} SET score = coalesce(score, 0) / 2 + 1 WHERE id = (SELECT max(id) FROM {0})",
        "DELETE FROM {0} WHERE id = (SELECT max(id) FROM {0})",
        "INSERT INTO {0} (id) VALUES (-1)",
    ],
)
def test_a_repair_after_which_a_trigger_changes_other_rows_is_not_called_a_repair(
    elsewhere: str, table: str, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, f"DELETE FROM {table} WHERE id = (SELECT min(id) FROM {table})")
    body = f"BEGIN {elsewhere.format(table)}; RETURN NULL; END"
    execute(target, f"CREATE FUNCTION public.elsewhere() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
    execute(
        target,
        f"CREATE TRIGGER other AFTER INSERT ON {table} WHEN (pg_trigger_depth() = 0) "
        "EXECUTE FUNCTION public.elsewhere()",
    )
    with pytest.raises(TableFailure, match=r"1 row\(s\) still differ after the repair: a user's trigger changes"):
        verify(replicator, table, repair=True)
    assert execute(target, f"SELECT count(*) FROM {table}") == "299"


def test_a_trigger_that_changes_only_a_users_column_prevents_no_repair(
    table: str, replicator: Replicator, target: DatabaseTarget, simulator: SimulatorControl
) -> None:
    simulator.advance(tables=[table], updates=5)
    execute(target, f"ALTER TABLE {table} ADD COLUMN seen boolean")
    execute(target, f"DELETE FROM {table} WHERE id = (SELECT min(id) FROM {table})")
    body = f"BEGIN UPDATE {table} SET seen = true; RETURN NULL; END"
    execute(target, f"CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
    execute(target, f"CREATE TRIGGER see AFTER INSERT ON {table} EXECUTE FUNCTION public.see()")
    assert outcome(verify(replicator, table, repair=True)).outcome == "repaired"
    assert execute(target, f"SELECT count(*) FROM {table} WHERE seen") == "300"


# -- snapshots of which nothing is left to compare -------------------------------------------------


def test_a_table_whose_rows_have_all_changed_since_the_snapshot_is_not_called_equal(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    outcome(verify(replicator, table))
    simulator.advance(tables=[table], updates=300)
    simulator.fault("canvas", "moving", "old_snapshot")
    found = outcome(verify(replicator, table))
    assert (found.outcome, found.rows_compared, found.rows_left_out) == ("postponed", 0, 300)
    assert "each of the snapshot's 300 row(s) has changed since" in str(found)
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"
    simulator.advance(tables=[table], deletes=300)
    simulator.fault("canvas", "moving", "old_snapshot")
    assert outcome(verify(replicator, table)).outcome == "postponed", "that all rows are gone is no comparison"
    simulator.add_table("canvas", "empty", "*id:i64 name:s50?", 0)
    run(init(replicator, "canvas.empty"))
    found = outcome(verify(replicator, "canvas.empty"))
    assert (found.outcome, found.rows_compared) == ("equal", 0)


# -- what nobody has asked for ---------------------------------------------------------------------


def test_a_snapshot_that_is_damaged_each_time_fails_only_tries_that_are_retried(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """A retry may succeed; after the last one the table is up to date, and that counts."""
    simulator.advance(tables=[table], inserts=5)

    async def damaged(*_: Any) -> int:
        raise TransientError("An object of the job is damaged: it will be retried.", type="DamagedObject")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Comparison, "find", damaged)
        with pytest.raises(TransientError):
            try_on_its_own(replicator, last_try=False)
        found = outcome(try_on_its_own(replicator, last_try=True))
    assert (found.outcome, found.requested, found.needs_attention) == ("postponed", False, False)
    assert "retried" not in str(found)
    assert_equal(simulator, database, table)
    assert execute(target, "SELECT count(*) FROM cd2.verifying") == "0"
    assert run(journal.history(replicator.replica))[NAME].today == 1


def history(replicator: Replicator) -> dict[TableName, History]:
    return run(journal.history(replicator.replica))


def test_a_table_whose_snapshots_are_of_no_use_does_not_take_the_turn_of_all_others(
    table: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    run(init(replicator, OTHER))

    def chosen() -> list[str]:
        settings = Settings(verify_tables_per_day=1)
        return run(due(replicator, [NAME, OTHER], {NAME: 1, OTHER: 2}, settings))

    def a_day_passes() -> None:
        execute(target, "UPDATE cd2.verifications SET verified_at = verified_at - interval '1 day'")
        execute(target, "UPDATE cd2.verifying SET noted_at = noted_at - interval '1 day'")

    assert chosen() == [str(NAME)]
    simulator.fault("canvas", "moving", "missing_column", column="score")
    assert outcome(verify(replicator, str(NAME), requested=False)).outcome == "postponed"
    assert chosen() == []
    a_day_passes()
    assert chosen() == [str(OTHER)]
    assert outcome(verify(replicator, str(OTHER), requested=False)).outcome == "equal"
    a_day_passes()
    assert chosen() == [str(NAME)]

    # A worker that is killed while it compares notes nothing; its snapshot waits.
    async def asked() -> None:
        cursor = await replicator.cursor(NAME)
        assert cursor
        await Verifier(replicator).ask(NAME, cursor, tries=3, place=None)

    run(asked())
    assert chosen() == []
    a_day_passes()
    assert chosen() == [str(OTHER)]
    assert history(replicator)[NAME].last - history(replicator)[OTHER].last > timedelta(0)  # type: ignore[operator]
