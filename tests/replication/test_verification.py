"""A verification names exactly what differs from DAP's snapshot, and a repair makes it equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult, Verification
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
