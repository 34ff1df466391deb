"""What readers, operators and other processes see while and after a table is loaded."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from cd2.replication.bookkeeping import cursors
from cd2.replication.database import locks
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.load import rows
from cd2.replication.load.rows import Progress
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.conftest import assert_equal, execute, make_replicator, run
from tests.steps import init, load_job, sync


@pytest.fixture
def replicator(simulator: SimulatorControl, target: DatabaseTarget) -> Iterator[Replicator]:
    simulator.clear_faults()
    yield make_replicator(simulator, target)
    simulator.settings(rows_per_object=100_000, url_seconds=900)


def fetch(target: DatabaseTarget, query: str) -> list[asyncpg.Record]:
    async def work() -> list[asyncpg.Record]:
        connection = await connect(target)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    return run(work())


def versions(target: DatabaseTarget, table: str) -> list[asyncpg.Record]:
    """The physical versions of a table's rows: a row that is written again has another."""
    return fetch(target, f"SELECT id, xmin::text, ctid::text FROM {table} ORDER BY id")


def test_a_sync_that_is_run_again_changes_no_row(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.users"))
    cursor = execute(target, "SELECT timestamp::text FROM instructure_dap.table_sync")
    simulator.advance(tables=["canvas.users"], inserts=5, updates=9, deletes=3)
    run(sync(replicator, "canvas.users"))
    before = versions(target, "canvas.users")
    execute(target, f"UPDATE instructure_dap.table_sync SET timestamp = '{cursor}'")
    again = run(sync(replicator, "canvas.users"))
    assert again.rows_upserted >= 9
    assert versions(target, "canvas.users") == before
    assert_equal(simulator, database, "canvas.users")


def test_a_reinit_writes_only_what_differs(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.users"))
    before = {row["id"]: row["xmin"] for row in versions(target, "canvas.users")}
    gone = execute(target, "DELETE FROM canvas.users WHERE id = (SELECT min(id) FROM canvas.users) RETURNING id")
    changed = execute(
        target, "UPDATE canvas.users SET name = 'x' WHERE id = (SELECT max(id) FROM canvas.users) RETURNING id"
    )
    result = run(init(replicator, "canvas.users"))
    assert (result.action, result.rows_upserted) == ("reinit", len(before))
    after = {row["id"]: row["xmin"] for row in versions(target, "canvas.users")}
    assert {key for key in after if after[key] != before[key]} == {int(gone), int(changed)}
    assert_equal(simulator, database, "canvas.users")


def test_readers_see_the_old_rows_until_a_reinit_is_complete(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.courses"))
    rows = int(execute(target, "SELECT count(*) FROM canvas.courses"))
    simulator.advance(tables=["canvas.courses"], inserts=20, deletes=5)

    async def watch() -> list[int]:
        """Hold the load up just before its end, and read."""
        holder, reader = await connect(target), await connect(target)
        hold = holder.transaction()
        await hold.start()
        await holder.execute("LOCK TABLE instructure_dap.table_sync IN SHARE MODE")
        load = asyncio.create_task(init(replicator, "canvas.courses"))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE %table_sync%'"
        )
        while not await reader.fetchval(waiting):
            assert not load.done()
            await asyncio.sleep(0.02)
        seen = [await reader.fetchval("SELECT count(*) FROM canvas.courses")]
        await hold.rollback()
        await load
        seen.append(await reader.fetchval("SELECT count(*) FROM canvas.courses"))
        await holder.close()
        await reader.close()
        return seen

    assert run(watch()) == [rows, rows + 15]
    assert_equal(simulator, database, "canvas.courses")


def test_many_objects_are_loaded_and_expired_addresses_asked_for_again(
    replicator: Replicator, simulator: SimulatorControl, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.settings(rows_per_object=3)
    simulator.fault("canvas", "pseudonyms", "expired_url", times=4)
    with caplog.at_level(logging.DEBUG):
        result = run(init(replicator, "canvas.pseudonyms"))
    assert result.rows_upserted == simulator.tables()["canvas.pseudonyms"]["rows"]
    assert "resuming with a fresh URL" in caplog.text
    assert "signature" not in caplog.text.lower()
    assert_equal(simulator, database, "canvas.pseudonyms")


def test_a_job_that_another_process_has_overtaken_changes_nothing(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """Applied after the newer job, the older one would bring back a row that DAP has deleted, and keep it for ever."""
    groups = TableName("canvas", "groups")
    run(init(replicator, groups))
    since = run(replicator.cursor(groups))
    simulator.advance(tables=[str(groups)], inserts=3)
    older = run(replicator.ask(groups, since))
    simulator.advance(tables=[str(groups)], deletes=1.0)
    execute(target, "DELETE FROM cd2.jobs RETURNING 1")
    assert run(sync(replicator, groups)).state == "complete"
    newest = run(replicator.cursor(groups))
    result = run(load_job(replicator, groups, older, "sync"))
    assert (result.state, result.rows_upserted, result.rows_deleted) == ("complete", 0, 0)
    assert run(replicator.cursor(groups)) == newest
    assert_equal(simulator, database, str(groups))


def test_a_table_that_is_worked_on_for_too_long_says_by_whom(target: DatabaseTarget) -> None:
    async def work() -> None:
        holder, other = await connect(target), await connect(target)
        async with locks.table_lock(holder, TableName("canvas", "users")):
            with pytest.raises(TransientError, match=r"session \d+ \(cd2 canvas.users from 127.0.0.1, since 20"):
                async with locks.table_lock(other, TableName("canvas", "users"), wait_s=0.2):
                    pass
        await holder.close()
        await other.close()

    run(work())


def test_progress_is_told_while_a_table_loads(
    simulator: SimulatorControl, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []
    monkeypatch.setattr(rows, "PROGRESS_EVERY_S", 0.0)
    simulator.settings(rows_per_object=10)
    run(init(make_replicator(simulator, target, progress=seen.append), "canvas.rubrics"))
    simulator.settings(rows_per_object=100_000)
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)
    assert seen[-1].rows == simulator.tables()["canvas.rubrics"]["rows"]
    assert seen[-1].bytes > 0
    assert str(seen[-1]).startswith("canvas.rubrics: ")
    assert "rows/s" in str(seen[-1])


def test_columns_that_came_after_the_job_was_made_come_with_the_next_sync(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.course_sections"))
    simulator.advance(tables=["canvas.course_sections"], updates=5)

    async def late() -> Any:
        job_id = await replicator.ask(TableName.parse("canvas.course_sections"), await _since(target))
        simulator.alter("canvas", "course_sections", "add_column", "late", type="s20", backfill=True)
        return await load_job(replicator, "canvas.course_sections", job_id, "sync")

    result = run(late())
    assert result.state == "complete"
    assert run(sync(replicator, "canvas.course_sections")).state == "complete_with_schema_update"
    assert_equal(simulator, database, "canvas.course_sections")


async def _since(target: DatabaseTarget) -> Any:
    connection = await connect(target)
    try:
        cursor = await cursors.read(connection, TableName("canvas", "course_sections"))
        assert cursor is not None
        return cursor.since
    finally:
        await connection.close()


def test_a_column_missing_in_the_data_is_noticed(replicator: Replicator, simulator: SimulatorControl) -> None:
    """The official client takes it for success."""
    simulator.fault("canvas", "wikis", "missing_column")
    with pytest.raises(TableFailure, match=r"lacks \w+, which its schema"):
        run(init(replicator, "canvas.wikis"))


def test_columns_in_any_order_are_loaded(replicator: Replicator, simulator: SimulatorControl, database: str) -> None:
    simulator.fault("canvas", "wikis", "shuffled_columns")
    run(init(replicator, "canvas.wikis"))
    simulator.advance(0.4, ["canvas.wikis"])
    simulator.fault("canvas", "wikis", "shuffled_columns")
    run(sync(replicator, "canvas.wikis"))
    assert_equal(simulator, database, "canvas.wikis")


def test_a_key_that_comes_twice_is_loaded_once(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.fault("canvas", "favorites", "duplicate_key")
    run(init(replicator, "canvas.favorites"))
    simulator.advance(0.5, ["canvas.favorites"])
    simulator.fault("canvas", "favorites", "duplicate_key")
    run(sync(replicator, "canvas.favorites"))
    assert_equal(simulator, database, "canvas.favorites")


def test_a_malformed_value_is_told_by_column_and_line_but_not_shown(
    replicator: Replicator, simulator: SimulatorControl
) -> None:
    simulator.fault("canvas", "enrollment_terms", "malformed_value", column="id")
    with pytest.raises(TableFailure, match="column id, line 1 of an object") as caught:
        run(init(replicator, "canvas.enrollment_terms"))
    assert "not-a-value" not in str(caught.value)


@pytest.mark.parametrize("kind", ["nul_byte", "invalid_utf8"])
def test_characters_that_cannot_be_stored_are_replaced_and_reported(
    kind: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    target: DatabaseTarget,
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulator.fault("canvas", "accounts", kind, column="name")
    with caplog.at_level(logging.WARNING):
        run(init(replicator, "canvas.accounts"))
    assert "1 row(s) held characters that PostgreSQL cannot store" in caplog.text
    assert int(execute(target, "SELECT count(*) FROM canvas.accounts WHERE name LIKE '%\ufffd%'")) == 1
