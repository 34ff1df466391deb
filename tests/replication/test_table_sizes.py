"""How large the tables of the replica are, as the order of a run needs it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cd2.replication.database import connection
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.errors import Cd2Error
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, make_replicator, run
from tests.steps import init

TargetWith = Callable[..., DatabaseTarget]

MEASURED = "CREATE TABLE canvas.{0} AS SELECT g AS id, repeat('x', 100) AS name FROM generate_series(1, {1}) g"


def test_a_table_has_a_size_as_soon_as_it_is_initialized_and_others_have_none(replicator: Replicator) -> None:
    assert run(replicator.sizes(["canvas", "catalog"])) == {}
    run(init(replicator, "canvas.users"))
    sizes = run(replicator.sizes(["canvas", "catalog"]))
    assert list(sizes) == [TableName("canvas", "users")]
    assert sizes[TableName("canvas", "users")] > 0
    assert run(replicator.sizes(["catalog"])) == {}


def test_more_rows_are_more_bytes_and_long_values_count(replicator: Replicator, target: DatabaseTarget) -> None:
    for name, rows in (("few", 10), ("many", 10_000)):
        execute(target, MEASURED.format(name, rows))
    execute(
        target,
        "CREATE TABLE canvas.long AS SELECT g AS id, "
        "(SELECT string_agg(md5(random()::text || g || i), '') FROM generate_series(1, 3000) i) AS body "
        "FROM generate_series(1, 30) g",
    )
    for name in ("few", "many", "long"):
        execute(target, f"VACUUM ANALYZE canvas.{name}")
    sizes = run(replicator.sizes(["canvas"]))
    few, many, long = (sizes[TableName("canvas", name)] for name in ("few", "many", "long"))
    assert many > 100 * few
    assert long > many


def test_a_table_that_is_being_altered_does_not_hold_up_the_question(
    replicator: Replicator, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.users"))

    async def asked_while_locked() -> dict[TableName, int]:
        other = await connect(target)
        try:
            async with other.transaction():
                await other.execute("LOCK TABLE canvas.users IN ACCESS EXCLUSIVE MODE")
                return await replicator.sizes(["canvas"])
        finally:
            await other.close()

    assert list(run(asked_while_locked())) == [TableName("canvas", "users")]


def test_a_replica_that_cannot_be_reached_is_an_error_in_our_words(
    simulator: SimulatorControl, target_with: TargetWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_PATIENCE_S", 0.0)
    nowhere = make_replicator(simulator, target_with(port=1))
    with pytest.raises(Cd2Error, match="cannot be reached"):
        run(nowhere.sizes(["canvas"]))
