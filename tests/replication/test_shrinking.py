"""A job that is complete and yet holds next to nothing empties no table."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.load.guard import SHRINK, Guard
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import Action, TableResult
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, make_replicator, run
from tests.steps import init, sync

NAME = TableName("canvas", "shrinking")
COLUMNS = "*id:i64 name:s50? score:i32?"


@pytest.fixture(autouse=True)
def _table(simulator: SimulatorControl, replicator: Replicator) -> None:
    """A table of 3,000 rows: a third of it may go before the default of 20 % counts."""
    simulator.add_table("canvas", "shrinking", COLUMNS, 3_000)
    run(init(replicator, NAME))


def left(target: DatabaseTarget) -> int:
    return int(execute(target, f"SELECT count(*) FROM {NAME}"))


def load_accepted(replicator: Replicator, action: Action) -> TableResult:
    """What the tasks do with accept_shrink of the trigger form."""

    async def work() -> TableResult:
        since = await replicator.cursor(NAME) if action == "sync" else None
        return await replicator.load(NAME, await replicator.ask(NAME, since), action, accept_shrink=True)

    return run(work())


def test_a_snapshot_without_objects_empties_no_table(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    simulator.fault("canvas", "shrinking", "no_objects")
    with pytest.raises(TableFailure, match=r"the snapshot is empty, but the table has 3,000 row\(s\)") as caught:
        run(init(replicator, NAME))
    assert caught.value.type == SHRINK
    assert left(target) == 3_000


def test_an_empty_snapshot_empties_no_small_table_either(
    simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    replicator = make_replicator(simulator, target, max_shrink=100)
    run(init(replicator, "canvas.roles"))
    before = execute(target, "SELECT count(*) FROM canvas.roles")
    simulator.fault("canvas", "roles", "no_objects")
    with pytest.raises(TableFailure, match="accept_shrink"):
        run(init(replicator, "canvas.roles"))
    assert execute(target, "SELECT count(*) FROM canvas.roles") == before
    assert_equal(simulator, database, "canvas.roles")


def test_an_empty_snapshot_does_not_pass_for_a_table_that_was_dropped(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget, database: str
) -> None:
    execute(target, f"DROP TABLE {NAME}")
    simulator.fault("canvas", "shrinking", "no_objects", times=2)
    with pytest.raises(TableFailure, match=r"empty, but before it was dropped, the table had 3,000 row") as caught:
        run(init(replicator, NAME))
    assert caught.value.type == SHRINK
    assert execute(target, f"SELECT to_regclass('{NAME}')") == "None"
    assert load_accepted(replicator, "init").state == "initialized"
    execute(target, f"DROP TABLE {NAME}")
    run(init(replicator, NAME))
    assert_equal(simulator, database, str(NAME))


def test_a_new_table_may_be_empty(simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget) -> None:
    simulator.add_table("canvas", "nothing_yet", COLUMNS, 0)
    for _ in range(2):
        assert run(init(replicator, "canvas.nothing_yet")).state == "initialized"
        execute(target, "DROP TABLE canvas.nothing_yet")


def test_a_snapshot_with_too_few_rows_is_refused_before_a_row_is_changed(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(
        target, "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''changed''; END'"
    )
    execute(
        target,
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON {NAME} FOR EACH STATEMENT "
        "EXECUTE FUNCTION public.refuse()",
    )
    simulator.advance(tables=[str(NAME)], deletes=1_500)
    with pytest.raises(TableFailure) as caught:
        run(init(replicator, NAME))
    assert "the snapshot has 1,500 row(s), and the table has 3,000" in caught.value.message
    assert "max_shrink allows only 1,000 at once" in caught.value.message
    assert "Nothing was changed" in caught.value.message
    assert "trigger the DAG with this table, full_refresh and accept_shrink;" in caught.value.message
    assert left(target) == 3_000


def test_a_snapshot_of_as_many_other_rows_is_refused(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    simulator.advance(tables=[str(NAME)], deletes=1_500, inserts=1_500)
    with pytest.raises(TableFailure, match="1,500 or more of them would be deleted"):
        run(init(replicator, NAME))
    assert left(target) == 3_000


def test_changes_that_delete_too_much_are_refused(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    simulator.advance(tables=[str(NAME)], deletes=1_500, inserts=400)
    with pytest.raises(TableFailure, match=r"the changes delete 1,500 row.*with this table, accept_shrink;"):
        run(sync(replicator, NAME))
    assert left(target) == 3_000


@pytest.mark.parametrize("action", ["sync", "init"])
def test_what_a_person_has_accepted_is_loaded(
    action: Action, simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    simulator.advance(tables=[str(NAME)], deletes=2_990)
    result = load_accepted(replicator, action)
    assert result.rows_deleted == 2_990
    assert_equal(simulator, database, str(NAME))


@pytest.mark.parametrize("action", ["sync", "init"])
def test_what_usually_goes_needs_nobody(
    action: str, simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    simulator.advance(tables=[str(NAME)], deletes=1_000)
    run(sync(replicator, NAME) if action == "sync" else init(replicator, NAME))
    assert_equal(simulator, database, str(NAME))


def test_the_setting_says_how_much_may_go(simulator: SimulatorControl, target: DatabaseTarget, database: str) -> None:
    simulator.advance(tables=[str(NAME)], deletes=1_500)
    run(init(make_replicator(simulator, target, max_shrink=50), NAME))
    assert_equal(simulator, database, str(NAME))


@pytest.mark.parametrize(
    ("percent", "rows", "limit"),
    [
        (20, 0, 1_000),
        (20, 5_009, 1_001),
        (0, 10**9, 1_000),
        (100, 5_000, 5_000),
        (33.3, 6_000, 1_998),
        (2.3, 50_000, 1_150),
    ],
)
def test_the_limit_is_the_percentage_that_people_write(percent: float, rows: int, limit: int) -> None:
    assert Guard(percent)._limit(rows) == limit
