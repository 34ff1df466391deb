"""What the lines of an incremental do to a table: which of several for a key counts, and what is said to be done."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from cd2.replication.dap.session import Job
from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.errors import TableFailure
from cd2.replication.load.objects import Tally
from cd2.replication.load.rows import JobRows
from cd2.replication.load.staging import Staging
from cd2.replication.names import TableName
from cd2.replication.schema.model import table_model
from tests.replication.replica import execute, fetch, run

THINGS = TableName("canvas", "things")
OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z"


def schema(key: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    keys = {name: {"type": "integer", "format": "int64"} for name in key}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "key": {"type": "object", "properties": keys, "required": [*key]},
            "value": {"type": "object", "properties": {name: {"type": "string"} for name in values}, "required": []},
        },
        "required": [],
        "additionalProperties": False,
    }


def apply(
    target: DatabaseTarget, lines: Sequence[str], key: Sequence[str] = ("id",), values: Sequence[str] = ("name",)
) -> tuple[int, int]:
    """Apply an incremental of one object; how many rows were written and deleted."""
    names = ["meta.ts", "meta.action", *(f"key.{name}" for name in key), *(f"value.{name}" for name in values)]
    return apply_objects(target, [["\t".join(names), *lines]], key, values)


def apply_objects(
    target: DatabaseTarget, objects: Sequence[Sequence[str]], key: Sequence[str], values: Sequence[str]
) -> tuple[int, int]:
    """Apply an incremental of several objects, each with its header."""

    async def download(number: str) -> AsyncIterator[bytes]:
        yield gzip.compress("".join(f"{line}\n" for line in objects[int(number)]).encode())

    async def work() -> tuple[int, int]:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        numbers = tuple(map(str, range(len(objects))))
        job = Job("a-job", done=True, since=moment, as_of=moment, schema_version=1, objects=numbers)
        async with (
            connected(target) as connection,
            JobRows(download, job, THINGS, Tally(), print) as rows,
            connection.transaction(),
        ):
            staging = Staging(connection, table_model(THINGS, schema(key, values), 1), incremental=True)
            await staging.create()
            await staging.fill(rows)
            done = await staging.apply_changes()
            await staging.drop()
            return done

    return run(work())


@pytest.fixture
def things(target: DatabaseTarget) -> DatabaseTarget:
    """A table with the row (1, before)."""
    execute(target, f"CREATE TABLE {THINGS} (id bigint PRIMARY KEY, name text)")
    execute(target, f"INSERT INTO {THINGS} VALUES (1, 'before')")
    return target


@pytest.mark.parametrize(
    ("lines", "left", "done"),
    [
        ([f"{OLD}\tU\t1\told", f"{NEW}\tU\t1\tnew"], [(1, "new")], (1, 0)),
        ([f"{NEW}\tU\t1\tnew", f"{OLD}\tU\t1\told"], [(1, "new")], (1, 0)),
        ([f"{OLD}\tU\t1\tfirst", f"{OLD}\tU\t1\tlast"], [(1, "last")], (1, 0)),
        ([f"{NEW}\tU\t1\tbefore", f"{OLD}\tU\t1\tolder"], [(1, "before")], (0, 0)),
        ([f"{OLD}\tU\t1\told", f"{NEW}\tD\t1\t\\N"], [], (0, 1)),
        ([f"{NEW}\tD\t1\t\\N", f"{OLD}\tU\t1\told"], [], (0, 1)),
        ([f"{OLD}\tD\t1\t\\N", f"{NEW}\tU\t1\tback"], [(1, "back")], (1, 0)),
        ([f"{NEW}\tU\t1\tback", f"{OLD}\tD\t1\t\\N"], [(1, "back")], (1, 0)),
        ([f"{NEW}\tU\t2\tother", f"{OLD}\tD\t1\t\\N"], [(2, "other")], (1, 1)),
        ([f"{OLD}\tD\t1\t\\N", f"{NEW}\tD\t1\t\\N"], [], (0, 1)),
    ],
)
def test_the_newest_row_of_a_key_stays_whatever_their_order(
    lines: list[str], left: list[tuple[int, str]], done: tuple[int, int], things: DatabaseTarget
) -> None:
    assert apply(things, lines) == done
    assert fetch(things, f"SELECT id, name FROM {THINGS} ORDER BY id") == left


def test_each_object_of_a_job_is_read_by_its_own_header(things: DatabaseTarget) -> None:
    one, other = "meta.ts\tmeta.action\tkey.id\tvalue.name", "meta.ts\tvalue.name\tmeta.action\tkey.id"
    objects = [
        [one],
        [one, f"{NEW}\tU\t1\tafter"],
        [one, f"{NEW}\tU\t2\ttwo", f"{NEW}\tU\t3\tthree"],
        [other, f"{NEW}\tfour\tU\t4"],
        [other],
        [f"{one}\tvalue.unknown", f"{NEW}\tU\t5\tfive\tleft out"],
        [one, f"{NEW}\tU\t6\tsix", f"{OLD}\tU\t4\tolder"],
    ]
    assert apply_objects(things, objects, ["id"], ["name"]) == (6, 0)
    left = [(1, "after"), (2, "two"), (3, "three"), (4, "four"), (5, "five"), (6, "six")]
    assert fetch(things, f"SELECT id, name FROM {THINGS} ORDER BY id") == left


def test_a_key_of_two_columns_is_one_key(target: DatabaseTarget) -> None:
    execute(target, f"CREATE TABLE {THINGS} (one bigint, two bigint, name text, PRIMARY KEY (one, two))")
    execute(target, f"INSERT INTO {THINGS} VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c'), (2, 2, 'd')")
    lines = [
        f"{NEW}\tD\t1\t2\t\\N",
        f"{OLD}\tU\t1\t2\told",
        f"{OLD}\tD\t2\t1\t\\N",
        f"{NEW}\tU\t2\t1\tback",
        f"{NEW}\tU\t1\t3\tnew",
        f"{NEW}\tU\t2\t2\td",
    ]
    assert apply(target, lines, ("one", "two")) == (2, 1)
    left = [(1, 1, "a"), (1, 3, "new"), (2, 1, "back"), (2, 2, "d")]
    assert fetch(target, f"SELECT one, two, name FROM {THINGS} ORDER BY 1, 2") == left


def test_a_table_that_is_all_key_gains_and_loses_rows(target: DatabaseTarget) -> None:
    execute(target, f"CREATE TABLE {THINGS} (one bigint, two bigint, PRIMARY KEY (one, two))")
    execute(target, f"INSERT INTO {THINGS} VALUES (1, 1), (1, 2)")
    lines = [f"{NEW}\tU\t1\t1", f"{NEW}\tU\t3\t1", f"{NEW}\tD\t1\t2"]
    assert apply(target, lines, ("one", "two"), ()) == (1, 1)
    assert fetch(target, f"SELECT one, two FROM {THINGS} ORDER BY 1, 2") == [(1, 1), (3, 1)]


def test_only_what_changes_is_counted(things: DatabaseTarget) -> None:
    """A row that is already equal and a row that is already gone are right, and are no work."""
    lines = [f"{NEW}\tU\t1\tbefore", f"{NEW}\tD\t2\t\\N", f"{NEW}\tU\t3\tnew"]
    assert apply(things, lines) == (1, 0)
    assert fetch(things, f"SELECT id, name FROM {THINGS} ORDER BY id") == [(1, "before"), (3, "new")]


@pytest.mark.parametrize("action", ["X", "\\N"])
def test_a_change_that_is_neither_upsert_nor_delete_is_not_passed_over(action: str, things: DatabaseTarget) -> None:
    with pytest.raises(TableFailure, match="a change is neither an upsert nor a delete"):
        apply(things, [f"{NEW}\tU\t2\tnew", f"{NEW}\t{action}\t1\tother"])
    assert fetch(things, f"SELECT id, name FROM {THINGS}") == [(1, "before")]


def test_lines_that_copy_does_not_read_are_missed(things: DatabaseTarget) -> None:
    r"""PostgreSQL takes a line `\.` for the end of the data, and says nothing about what follows."""
    with pytest.raises(TableFailure, match="PostgreSQL copied 1 of the 3 lines"):
        apply(things, [f"{NEW}\tU\t2\tnew", "\\.", f"{NEW}\tU\t3\tnew"])
    assert fetch(things, f"SELECT id, name FROM {THINGS}") == [(1, "before")]
