"""Values that PostgreSQL does not store as they are delivered, or that only count as equal for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cd2.replication.dap import schemas
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.load.objects import ObjectStream
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.column_forms import lists, number, text
from tests.replication.replica import execute, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

NAME = "canvas.given"
DELIVERED = Callable[[dict[str, Any], str], None]


@pytest.fixture
def delivered(simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> DELIVERED:
    """Lets DAP describe and deliver the column `x` of all five rows like this; then and from then on."""
    simulator.add_table("canvas", "given", "*id:i64 x:text?", 5)
    given: list[Any] = [{}, b""]
    described, rows = schemas.described, ObjectStream.rows

    async def with_form(*arguments: Any) -> Any:
        found = await described(*arguments)
        schema = json.loads(json.dumps(found.schema))
        schema["properties"]["value"]["properties"]["x"] = given[0]
        return replace(found, schema=schema)

    async def with_value(stream: ObjectStream, wanted: Sequence[str], *others: Any) -> AsyncIterator[bytes]:
        async for block in rows(stream, wanted, *others):
            for line in block.splitlines():
                fields = line.split(b"\t")
                if "value.x" in wanted:
                    fields[wanted.index("value.x")] = given[1]
                yield b"\t".join(fields) + b"\n"

    def deliver(form: dict[str, Any], value: str) -> None:
        given[:] = form, value.encode()

    monkeypatch.setattr(schemas, "described", with_form)
    monkeypatch.setattr(ObjectStream, "rows", with_value)
    return deliver


@pytest.mark.parametrize(
    ("form", "value", "stored"),
    [
        (lists(text(maxLength=4)), '["ab        ", "abcd"]', '{"ab  ",abcd}'),
        (lists(number(exclusiveMinimum=-10000, exclusiveMaximum=10000, multipleOf=0.01)), "[1.005]", "{1.01}"),
        (text(maxLength=4), "ab        ", "ab  "),
        (number(exclusiveMinimum=-10000, exclusiveMaximum=10000, multipleOf=0.01), "1.005", "1.01"),
    ],
)
def test_what_postgresql_cuts_or_rounds_is_no_difference_and_written_once(
    form: dict[str, Any],
    value: str,
    stored: str,
    delivered: DELIVERED,
    replicator: Replicator,
    simulator: SimulatorControl,
    target: DatabaseTarget,
) -> None:
    delivered(form, value)
    run(init(replicator, NAME))
    assert execute(target, f"SELECT x::text FROM {NAME} LIMIT 1") == stored
    assert outcome(verify(replicator, NAME)).outcome == "equal"
    simulator.advance(tables=[NAME], updates=5)
    assert run(sync(replicator, NAME)).rows_upserted == 0


def test_intervals_that_only_count_as_equal_differ(
    delivered: DELIVERED, replicator: Replicator, target: DatabaseTarget
) -> None:
    """For PostgreSQL a month is equal to 30 days."""
    delivered(text(format="duration"), "P1M")
    run(init(replicator, NAME))
    assert outcome(verify(replicator, NAME)).outcome == "equal"
    delivered(text(format="duration"), "P30D")
    found = outcome(verify(replicator, NAME, repair=True))
    assert (found.outcome, found.different) == ("repaired", 5)
    assert execute(target, f"SELECT DISTINCT x::text FROM {NAME}") == "30 days"


def test_lists_of_texts_may_have_another_type_of_text(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "given", "*id:i64 tags:text[]?", 30)
    run(init(replicator, NAME))
    execute(target, f"ALTER TABLE {NAME} ALTER tags TYPE varchar[]")
    simulator.advance(tables=[NAME], updates=5)
    assert outcome(verify(replicator, NAME)).outcome == "equal"
