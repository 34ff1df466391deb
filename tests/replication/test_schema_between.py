"""The schema changes between a job and its load: what the load changes is what its result says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.schema.model import table_model
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, fetch, run
from tests.steps import init, load_job, sync

TABLE = TableName("canvas", "things")
COLUMNS = "state:enum(a|b|c) name:s50? number:i32? other:text?"
CHANGES: dict[str, dict[str, Any]] = {
    "add_column": {"column": "added", "type": "text", "backfill": True},
    "add_column required": {"column": "added", "type": "i64", "nullable": False},
    "drop_column": {"column": "name"},
    "widen": {"column": "name", "type": "s200"},
    "retype": {"column": "number", "type": "text"},
    "retype back": {"column": "name", "type": "i64"},
    "not_null": {"column": "other"},
    "nullable": {"column": "state"},
    "add_enum_value": {"column": "state", "value": "d"},
    "drop_enum_value": {"column": "state", "value": "b"},
    "comment": {"column": "name", "text": "another"},
}


def noted(target: DatabaseTarget) -> tuple[int, str]:
    ((version, description),) = fetch(
        target, "SELECT schema_version, schema_description FROM instructure_dap.table_sync"
    )
    return version, description


def shape(target: DatabaseTarget) -> str:
    """The table's columns, and its enumeration's values."""
    return execute(
        target,
        "SELECT string_agg(concat(attname, ' ', format_type(atttypid, atttypmod), attnotnull), ', ' ORDER BY attnum) "
        f"|| enum_range(NULL::canvas.things__state)::text FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass "
        "AND attnum > 0 AND NOT attisdropped",
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_is_loaded_by_the_schema_of_its_data(
    change: str, simulator: SimulatorControl, replicator: Replicator, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table(TABLE.namespace, TABLE.table, COLUMNS, rows=12)
    run(init(replicator, TABLE))
    execute(target, f"CREATE VIEW public.names AS SELECT id, name FROM {TABLE}")
    simulator.advance(tables=[str(TABLE)], inserts=2, updates=4, deletes=1)
    before, first = noted(target), shape(target)

    older = run(replicator.ask(TABLE, run(replicator.cursor(TABLE))))
    simulator.alter(TABLE.namespace, TABLE.table, change.split(" ")[0], **CHANGES[change])
    result = run(load_job(replicator, TABLE, older, "sync"))

    assert (result.state, result.schema_version) == ("complete", 1)
    assert (result.dependents.restored, result.dependents.broken) == ((), ())
    assert (noted(target), shape(target)) == (before, first)

    newer = run(sync(replicator, TABLE))
    if newer.state == "needs_init":
        newer = run(init(replicator, TABLE))
    assert (newer.state, newer.schema_version) in (("complete_with_schema_update", 2), ("initialized", 2))
    assert newer.dependents.broken == (("public.names",) if change == "drop_column" else ())
    assert_equal(simulator, database, str(TABLE))
    assert run(sync(replicator, TABLE)).state == "complete"


@pytest.mark.parametrize(
    "change", [change for change in CHANGES if change not in ("not_null", "retype back", "drop_enum_value")]
)
def test_a_version_is_never_noted_beside_the_description_of_another(
    change: str, simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    """An init, whose table never had the schema of the data: the description is of what the table has."""
    simulator.add_table(TABLE.namespace, TABLE.table, COLUMNS, rows=12)
    job = run(replicator.ask(TABLE, None))
    simulator.alter(TABLE.namespace, TABLE.table, change.split(" ")[0], **CHANGES[change])
    run(load_job(replicator, TABLE, job, "init"))
    version, description = noted(target)
    model = table_model(TABLE, json.loads(description), version)
    found = [
        row[0]
        for row in fetch(
            target,
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        )
    ]
    assert [column.name for column in model.columns] == found
    assert version == (1 if change.startswith("add_column") else 2)


def test_what_a_load_changes_without_a_new_version_is_in_its_result(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget, database: str
) -> None:
    """People have changed a column: the load makes it right, and says so."""
    simulator.add_table(TABLE.namespace, TABLE.table, COLUMNS, rows=12)
    run(init(replicator, TABLE))
    execute(target, f"ALTER TABLE {TABLE} ALTER name TYPE varchar(90), ALTER number DROP NOT NULL")
    result = run(sync(replicator, TABLE))
    assert (result.state, result.schema_version) == ("complete_with_schema_update", 1)
    assert run(sync(replicator, TABLE)).state == "complete"
    assert_equal(simulator, database, str(TABLE))
