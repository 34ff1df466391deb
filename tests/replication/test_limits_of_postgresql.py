"""Limits that PostgreSQL itself has: what exceeds one fails its table with a sentence that says what to do."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from cd2.replication.dap.downloads import Downloads
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, run
from tests.steps import init, sync

TABLE = "canvas.limits"
TOO_LARGE = "A value or a row is larger than PostgreSQL can hold"


def failure(replicator: Replicator, *, first: bool = False) -> str:
    with pytest.raises(TableFailure) as caught:
        run(init(replicator, TABLE) if first else sync(replicator, TABLE))
    return caught.value.message


@pytest.fixture
def limits(replicator: Replicator, simulator: SimulatorControl) -> SimulatorControl:
    """A small table, and changes to it."""
    simulator.add_table("canvas", "limits", "name:text note:text?", rows=12)
    run(init(replicator, TABLE))
    simulator.advance(tables=[TABLE], inserts=3, updates=5)
    return simulator


def test_a_row_whose_numbers_alone_have_more_than_8_kb(replicator: Replicator, simulator: SimulatorControl) -> None:
    simulator.add_table("canvas", "limits", " ".join(f"c{n}:i64" for n in range(1100)), rows=3)
    said = failure(replicator, first=True)
    assert said.startswith(f"{TABLE}: init failed: {TOO_LARGE}")
    # PostgreSQL names a line that does not exist.
    assert said.endswith("(ProgramLimitExceededError)")


def test_a_row_that_columns_of_users_make_too_large(
    limits: SimulatorControl, replicator: Replicator, database: str
) -> None:
    columns = ", ".join(f"u{n} bigint NOT NULL DEFAULT {n}" for n in range(1050))
    admin(database, f"ALTER TABLE {TABLE} " + ", ".join(f"ADD {column}" for column in columns.split(", ")))
    said = failure(replicator)
    assert TOO_LARGE in said
    assert "drop indexes and columns that you added" in said
    assert "row is too big: size 8" in said


def test_a_value_that_an_index_of_users_cannot_hold(
    limits: SimulatorControl, replicator: Replicator, database: str
) -> None:
    admin(database, f"CREATE INDEX theirs ON {TABLE} (name)")
    limits.fault("canvas", "limits", "large_value", column="name", megabytes=8)
    said = failure(replicator)
    assert TOO_LARGE in said
    assert "use the same values: index theirs. If one of these raised the error, drop it" in said
    admin(database, "DROP INDEX canvas.theirs")
    assert run(sync(replicator, TABLE)).state == "complete"


@pytest.mark.parametrize("first", [True, False])
def test_a_json_value_that_is_nested_too_deeply(
    first: bool, replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Downloads.download

    async def nested(self: Downloads, object_id: str) -> AsyncIterator[bytes]:
        data = gzip.decompress(b"".join([block async for block in download(self, object_id)]))
        header, *lines = data.split(b"\n")[:-1]
        lines = [b"\t".join([*line.split(b"\t")[:-1], b"[" * 30_000 + b"]" * 30_000]) for line in lines]
        yield gzip.compress(b"\n".join([header, *lines, b""]))

    simulator.add_table("canvas", "limits", "doc:json", rows=3)
    if not first:
        run(init(replicator, TABLE))
        simulator.advance(tables=[TABLE], updates=3)
    monkeypatch.setattr(Downloads, "download", nested)
    said = failure(replicator, first=first)
    assert "A JSON value is nested more deeply than max_stack_depth of the server allows: raise that" in said
    assert said.endswith("(StatementTooComplexError: column doc, line 1 of the job's rows)")


@pytest.mark.slow
def test_a_text_in_json_that_is_longer_than_jsonb_can_hold(
    replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's own limit, 256 MB; the line itself is one that it reads."""
    download = Downloads.download

    async def long(self: Downloads, object_id: str) -> AsyncIterator[bytes]:
        data = gzip.decompress(b"".join([block async for block in download(self, object_id)]))
        header, first = data.split(b"\n")[:2]
        deflate = zlib.compressobj(1, wbits=31)
        yield deflate.compress(header + b"\n" + b"\t".join(first.split(b"\t")[:-1]) + b'\t"')
        for _ in range(257):
            yield deflate.compress(b"x" * 2**20)
        yield deflate.compress(b'"\n') + deflate.flush()

    simulator.add_table("canvas", "limits", "doc:json", rows=3)
    monkeypatch.setattr(Downloads, "download", long)
    said = failure(replicator, first=True)
    assert TOO_LARGE in said
    assert "256 MB for a text in JSON" in said
    assert said.endswith("(ProgramLimitExceededError: column doc, line 1 of the job's rows)")


def test_a_column_for_which_columns_of_users_leave_no_room(
    limits: SimulatorControl, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    admin(database, f"ALTER TABLE {TABLE} " + ", ".join(f"ADD u{n} boolean" for n in range(1597)))
    limits.alter("canvas", "limits", "add_column", "b", type="i32")
    said = failure(replicator)
    assert "The table would have more columns than PostgreSQL allows (1,600, of which a load needs two; dropped" in said
    assert said.endswith("(TooManyColumnsError: tables can have at most 1600 columns)")
    # To drop them would not help; this does.
    admin(database, f"DROP TABLE {TABLE}")
    assert run(sync(replicator, TABLE)).state == "needs_init"
    run(init(replicator, TABLE))
    assert_equal(simulator, database, TABLE)
