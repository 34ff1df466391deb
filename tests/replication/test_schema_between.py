"""The schema changes between a job and its load: what the load changes is what its result says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.errors import TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import Action, TableResult
from cd2.replication.schema.model import table_model
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, fetch, run
from tests.replication.waiting import until
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


class Changing:
    """A table whose schema changes from version 1 to version 2.

    :param change: a key of `CHANGES`, or `key`.
    """

    def __init__(self, number: int, change: str, simulator: SimulatorControl, replicator: Replicator) -> None:
        self.name = TableName("canvas", f"things_{number}")
        self.change = change
        self._simulator = simulator
        self._replicator = replicator
        simulator.add_table(self.name.namespace, self.name.table, COLUMNS, rows=12)

    def alter(self) -> None:
        place = (self.name.namespace, self.name.table)
        if self.change != "key":
            self._simulator.alter(*place, self.change.split(" ")[0], **CHANGES[self.change])
            return
        self._simulator.remove_table(*place)
        self._simulator.add_table(*place, f"*id:i64 *part:i64 {COLUMNS}", rows=12)
        self._simulator.alter(*place, "comment", text="Its key has two columns.")

    def write(self) -> None:
        self._simulator.advance(tables=[str(self.name)], inserts=2, updates=4, deletes=1)

    async def job(self, action: Action) -> str:
        return await self._replicator.ask(
            self.name, None if action == "init" else await self._replicator.cursor(self.name)
        )

    async def loaded(self, job: str, action: Action) -> TableResult:
        """Like the tasks of a run: another try, or an init, if that is needed."""
        try:
            result = await load_job(self._replicator, self.name, job, action)
        except TransientError as failure:
            if failure.type != "OlderSchema":
                raise
            newer = await self.job(action)
            assert newer != job
            result = await load_job(self._replicator, self.name, newer, action)
        return await init(self._replicator, self.name) if result.state == "needs_init" else result


def columns_of(target: DatabaseTarget, table: TableName) -> tuple[list[str], int, list[str]]:
    """The columns of a table; the version that is noted, and the columns of the description beside it."""
    found = fetch(
        target,
        f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped",
    )
    ((version, description),) = fetch(
        target,
        "SELECT schema_version, schema_description FROM instructure_dap.table_sync "
        f"WHERE source_table = '{table.table}'",
    )
    described = table_model(table, json.loads(description), version).columns
    return sorted(row[0] for row in found), version, sorted(column.name for column in described)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the ask", "while DAP works", "before the load", "before the load, unknown"])
@pytest.mark.parametrize("action", ["init", "re-init", "sync"])
def test_a_change_of_the_schema_at_any_moment_stops_no_table(
    action: str, moment: str, simulator: SimulatorControl, replicator: Replicator, database: str, target: DatabaseTarget
) -> None:
    """Every kind of change: by the schema of its data, or with another job in the same run."""
    tables = [Changing(number, change, simulator, replicator) for number, change in enumerate([*CHANGES, "key"])]
    for table in tables:
        if action != "init":
            run(init(replicator, table.name))
            table.write()
    asked: Action = "sync" if action == "sync" else "init"

    async def loaded(table: Changing) -> TableResult:
        if moment == "before the ask":
            table.alter()
            return await table.loaded(await table.job(asked), asked)
        simulator.job_seconds(600 if moment == "while DAP works" else 0)
        before = simulator.stats()["jobs"].get(str(table.name), 0)
        job = asyncio.create_task(table.job(asked))
        await until(lambda: _true(simulator.stats()["jobs"].get(str(table.name), 0) > before))
        if moment == "while DAP works":
            await until(lambda: is_noted(target, table.name))
            table.alter()
            simulator.job_seconds(0)
            simulator.finish_jobs()
            return await table.loaded(await job, asked)
        await job
        table.alter()
        if moment == "before the load, unknown":
            # As if another program had asked for the job.
            await forget_schemas(target)
        return await table.loaded(job.result(), asked)

    for table in tables:
        assert (table.change, run(loaded(table)).error) == (table.change, None)
        found, version, described = columns_of(target, table.name)
        assert (table.change, found) == (table.change, described)
        if moment in ("while DAP works", "before the load"):
            assert (table.change, version) == (table.change, 1)
        table.write()
        result = run(sync(replicator, table.name))
        if result.state == "needs_init":
            result = run(init(replicator, table.name))
        assert result.schema_version == 2
    assert_equal(simulator, database, *(str(table.name) for table in tables))


@pytest.mark.parametrize("change", ["drop_enum_value", "not_null", "retype back", "drop_column"])
def test_a_snapshot_is_loaded_by_the_schema_of_its_data(
    change: str, simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    """An init, whose table never had that schema."""
    simulator.add_table(TABLE.namespace, TABLE.table, COLUMNS, rows=12)
    job = run(replicator.ask(TABLE, None))
    simulator.alter(TABLE.namespace, TABLE.table, change.split(" ")[0], **CHANGES[change])
    result = run(load_job(replicator, TABLE, job, "init"))
    assert (result.state, result.schema_version, result.rows_upserted) == ("initialized", 1, 12)
    version, description = noted(target)
    assert version == 1
    assert {"name", "state"} <= set(json.loads(description)["properties"]["value"]["properties"])


def test_data_that_fits_no_known_schema_is_asked_for_again(
    simulator: SimulatorControl, replicator: Replicator, database: str, target: DatabaseTarget
) -> None:
    """Another program asked for the job, before the schema changed; ours gets the same."""
    simulator.add_table(TABLE.namespace, TABLE.table, COLUMNS, rows=12)
    job = run(replicator.ask(TABLE, None))
    run(forget_schemas(target))
    simulator.alter(TABLE.namespace, TABLE.table, **{"change": "drop_enum_value", **CHANGES["drop_enum_value"]})
    with pytest.raises(TransientError, match="has version 1 of the schema, and does not fit version 2") as failure:
        run(load_job(replicator, TABLE, job, "init"))
    assert failure.value.type == "OlderSchema"
    result = run(init(replicator, TABLE))
    assert (result.state, result.schema_version) == ("initialized", 2)
    assert result.job_id != job
    assert_equal(simulator, database, str(TABLE))


async def _true(value: bool) -> bool:
    return value


async def is_noted(target: DatabaseTarget, table: TableName) -> bool:
    async with connected(target) as connection:
        query = "SELECT EXISTS (SELECT FROM cd2.schemas WHERE table_name = $1)"
        return bool(await connection.fetchval(query, table.table))


async def forget_schemas(target: DatabaseTarget) -> None:
    async with connected(target) as connection:
        await connection.execute("DELETE FROM cd2.schemas")


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
