"""A table that has a cursor and that DAP no longer lists is reported, with since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import Unlisted
from cd2.settings import Settings
from cd2.tasks.selection import list_and_choose
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, run
from tests.steps import init

GONE = TableName("canvas", "gone")
PROMOTIONS = TableName("catalog", "promotions")
FIRST = datetime(2026, 11, 2, 3, 4, tzinfo=UTC)


def missing(
    replicator: Replicator,
    include_tables: tuple[str, ...] = (),
    skip_tables: tuple[str, ...] = (),
    namespaces: tuple[str, ...] = ("canvas", "catalog"),
    **params: list[str],
) -> list[Unlisted]:
    """What a listing tells of."""
    settings = Settings(namespaces=namespaces, include_tables=include_tables, skip_tables=skip_tables)
    return run(list_and_choose(replicator, settings, params))[1]


def test_a_table_with_a_cursor_that_dap_no_longer_lists_is_told_of(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    simulator.add_table(GONE.namespace, GONE.table, "*id:i64 name:s50?", rows=3)
    initialized = run(init(replicator, GONE))
    run(init(replicator, PROMOTIONS))
    assert missing(replicator) == []
    simulator.remove_table(GONE.namespace, GONE.table)

    before = datetime.now(UTC) - timedelta(seconds=1)
    (found,) = missing(replicator)
    assert found.table == GONE
    assert before < found.since < datetime.now(UTC) + timedelta(seconds=1)
    assert found.data_as_of.isoformat() == initialized.data_as_of
    # Since it was seen first, whatever the session's time zone.
    execute(target, f"UPDATE cd2.freshness SET unlisted_since = '{FIRST.isoformat()}' WHERE table_name = 'gone'")
    execute(target, "ALTER DATABASE " + target.dbname + " SET timezone = 'Asia/Tokyo'")
    assert [again.since for again in missing(replicator)] == [FIRST]
    seconds = "SELECT extract(epoch FROM unlisted_since)::int FROM cd2.status WHERE table_name = 'gone'"
    assert execute(target, seconds) == str(int(FIRST.timestamp()))

    # Not what the settings or the trigger form leave out, and not other namespaces.
    assert missing(replicator, skip_tables=("gone",)) == []
    assert missing(replicator, include_tables=("users", "catalog.*")) == []
    assert missing(replicator, namespaces=("catalog",)) == []
    assert missing(replicator, tables=["users"]) == []
    # That the settings name it is no mistake; that a person asks for it is.
    assert [found.table for found in missing(replicator, include_tables=("users", "canvas.gone"))] == [GONE]
    with pytest.raises(TableFailure, match="The trigger form names gone, but DAP lists no such table"):
        missing(replicator, tables=["gone"])
    assert [found.table for found in missing(replicator, tables=["g*", "users"])] == [GONE]

    simulator.add_table(GONE.namespace, GONE.table, "*id:i64 name:s50?", rows=3)
    assert missing(replicator) == []
    assert execute(target, "SELECT unlisted_since FROM cd2.freshness WHERE table_name = 'gone'") == "None"
    assert execute(target, "SELECT unlisted_since FROM cd2.status WHERE table_name = 'gone'") == "None"


def test_who_no_longer_needs_such_a_table_deletes_its_cursor(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    run(init(replicator, PROMOTIONS))
    simulator.remove_table(PROMOTIONS.namespace, PROMOTIONS.table)
    assert [found.table for found in missing(replicator)] == [PROMOTIONS]
    execute(target, "DELETE FROM instructure_dap.table_sync WHERE source_table = 'promotions'")
    assert missing(replicator) == []


def test_a_replica_that_cannot_be_asked_is_no_reason_to_fail(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    run(init(replicator, PROMOTIONS))
    simulator.remove_table(PROMOTIONS.namespace, PROMOTIONS.table)
    execute(target, "ALTER TABLE cd2.freshness RENAME TO elsewhere")
    assert missing(replicator) == []


def test_a_database_of_the_first_version_gets_the_column(replicator: Replicator, target: DatabaseTarget) -> None:
    execute(target, "ALTER TABLE cd2.freshness DROP COLUMN unlisted_since CASCADE")
    run(replicator.prepare(["canvas"]))
    run(replicator.prepare(["canvas"]))
    assert missing(replicator) == []
