"""What an incremental says about a key more than once: its newest row is what becomes of it."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from cd2.replication.dap.session import Job
from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.load.objects import Tally
from cd2.replication.load.rows import JobRows
from cd2.replication.load.staging import Staging
from cd2.replication.names import TableName
from cd2.replication.schema.model import table_model
from tests.replication.replica import execute, fetch, run

THINGS = TableName("canvas", "things")
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "key": {"type": "object", "properties": {"id": {"type": "integer", "format": "int64"}}, "required": ["id"]},
        "value": {"type": "object", "properties": {"name": {"type": "string"}}, "required": []},
    },
    "required": [],
    "additionalProperties": False,
}
HEADER = "meta.ts\tmeta.action\tkey.id\tvalue.name\n"
OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([f"{OLD}\tU\t1\told", f"{NEW}\tU\t1\tnew"], [(1, "new")]),
        ([f"{NEW}\tU\t1\tnew", f"{OLD}\tU\t1\told"], [(1, "new")]),
        ([f"{OLD}\tU\t1\tfirst", f"{OLD}\tU\t1\tlast"], [(1, "last")]),
        ([f"{OLD}\tU\t1\told", f"{NEW}\tD\t1\t\\N"], []),
        ([f"{NEW}\tD\t1\t\\N", f"{OLD}\tU\t1\told"], []),
        ([f"{OLD}\tD\t1\t\\N", f"{NEW}\tU\t1\tback"], [(1, "back")]),
        ([f"{NEW}\tU\t1\tback", f"{OLD}\tD\t1\t\\N"], [(1, "back")]),
        ([f"{NEW}\tU\t2\tother", f"{OLD}\tD\t1\t\\N"], [(2, "other")]),
    ],
)
def test_the_newest_row_of_a_key_stays_whatever_their_order(
    lines: list[str], left: list[tuple[int, str]], target: DatabaseTarget
) -> None:
    execute(target, f"CREATE TABLE {THINGS} (id bigint PRIMARY KEY, name text)")
    execute(target, f"INSERT INTO {THINGS} VALUES (1, 'before')")

    async def download(_: str) -> AsyncIterator[bytes]:
        yield gzip.compress((HEADER + "".join(f"{line}\n" for line in lines)).encode())

    async def apply() -> None:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        job = Job("a-job", done=True, since=moment, as_of=moment, schema_version=1, objects=("an-object",))
        async with (
            connected(target) as connection,
            JobRows(download, job, THINGS, Tally(), print) as rows,
            connection.transaction(),
        ):
            staging = Staging(connection, table_model(THINGS, SCHEMA, 1), incremental=True)
            await staging.create()
            await staging.fill(rows)
            await staging.apply_changes()
            await staging.drop()

    run(apply())
    assert fetch(target, f"SELECT id, name FROM {THINGS} ORDER BY id") == left
