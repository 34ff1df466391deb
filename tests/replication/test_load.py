"""What readers, operators and other processes see while and after a table is loaded."""

import asyncio
import logging

import asyncpg
import psycopg
import pytest

from cd2.replication.dap import downloads
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.load import rows
from cd2.replication.load.rows import Progress
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run
from tests.replication.waiting import until
from tests.steps import init, load_job, sync

SECTIONS = TableName("canvas", "course_sections")


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
    assert (again.rows_upserted, again.rows_deleted) == (0, 0)
    assert versions(target, "canvas.users") == before
    assert_equal(simulator, database, "canvas.users")


def test_a_reinit_writes_only_what_differs_and_counts_what_it_wrote(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.users"))
    before = {row["id"]: row["xmin"] for row in versions(target, "canvas.users")}
    gone = execute(target, "DELETE FROM canvas.users WHERE id = (SELECT min(id) FROM canvas.users) RETURNING id")
    changed = execute(
        target, "UPDATE canvas.users SET name = 'x' WHERE id = (SELECT max(id) FROM canvas.users) RETURNING id"
    )
    execute(
        target,
        "INSERT INTO canvas.users SELECT (jsonb_populate_record(u, '{\"id\": 17}')).* FROM canvas.users u LIMIT 1",
    )
    result = run(init(replicator, "canvas.users"))
    assert (result.action, result.rows_upserted, result.rows_deleted) == ("reinit", 2, 1)
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
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE %table_sync%'"
        )

        async def held_up() -> bool:
            return bool(await reader.fetchval(waiting))

        await until(held_up, load)
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
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downloads, "DOWNLOAD_PAUSE_S", 0.01)
    simulator.settings(rows_per_object=3)
    simulator.fault("canvas", "pseudonyms", "expired_url", times=4)
    with caplog.at_level(logging.DEBUG):
        result = run(init(replicator, "canvas.pseudonyms"))
    assert result.rows_upserted == simulator.tables()["canvas.pseudonyms"]["rows"]
    assert "resuming" in caplog.text
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


def test_a_cursor_that_is_set_back_while_its_changes_are_fetched_is_no_ground_for_them(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    """What lies between the two would be missing for ever."""
    table = TableName("canvas", "groups")
    run(init(replicator, table))
    simulator.advance(tables=[str(table)], inserts=3)
    job_id = run(replicator.ask(table, run(replicator.cursor(table))))
    before = versions(target, str(table))
    execute(target, "UPDATE instructure_dap.table_sync SET timestamp = timestamp - interval '1 hour'")
    cursor = run(replicator.cursor(table))
    with pytest.raises(TransientError, match="its cursor was set back"):
        run(load_job(replicator, table, job_id, "sync"))
    assert versions(target, str(table)) == before
    assert run(replicator.cursor(table)) == cursor


def test_a_cursor_that_is_gone_while_its_changes_are_fetched_leads_to_a_reinit(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    table = TableName("canvas", "groups")
    run(init(replicator, table))
    simulator.advance(tables=[str(table)], inserts=3)
    job_id = run(replicator.ask(table, run(replicator.cursor(table))))
    execute(target, "DELETE FROM instructure_dap.table_sync")
    result = run(load_job(replicator, table, job_id, "sync"))
    assert result.state == "needs_init"
    assert result.error is not None
    assert "its row in instructure_dap.table_sync is gone" in result.error.message
    assert run(init(replicator, table)).action == "reinit"
    assert_equal(simulator, database, str(table))


def test_progress_is_told_while_a_table_loads(
    simulator: SimulatorControl, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []
    monkeypatch.setattr(rows, "PROGRESS_EVERY_S", 0.0)
    simulator.settings(rows_per_object=10)
    run(init(make_replicator(simulator, target, progress=seen.append), "canvas.rubrics"))
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)
    assert seen[-1].rows == simulator.tables()["canvas.rubrics"]["rows"]
    assert seen[-1].bytes > 0
    assert str(seen[-1]).startswith("canvas.rubrics: ")
    assert "rows/s" in str(seen[-1])


def test_a_reinit_that_fails_is_reported_as_one_and_noted_once(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.wikis"))
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE public.notes (error text)")
        connection.execute(
            "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO public.notes VALUES (NEW.error); RETURN NULL; END'"
        )
        connection.execute(
            "CREATE TRIGGER note AFTER INSERT OR UPDATE ON cd2.freshness FOR EACH ROW EXECUTE FUNCTION public.note()"
        )
    simulator.fault("canvas", "wikis", "malformed_value", column="id")
    with pytest.raises(TableFailure) as caught:
        run(init(replicator, "canvas.wikis"))
    assert caught.value.result is not None
    assert (caught.value.result.action, caught.value.result.state) == ("reinit", "failed")
    assert caught.value.message.startswith("canvas.wikis: reinit failed")
    assert fetch(target, "SELECT error FROM public.notes") == [(caught.value.message,)]


def test_columns_that_came_after_the_job_was_made_come_with_the_next_sync(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, SECTIONS))
    simulator.advance(tables=["canvas.course_sections"], updates=5)

    since = run(replicator.cursor(SECTIONS))
    job_id = run(replicator.ask(SECTIONS, since))
    simulator.alter("canvas", "course_sections", "add_column", "late", type="s20", backfill=True)
    assert run(load_job(replicator, SECTIONS, job_id, "sync")).state == "complete"
    assert run(sync(replicator, SECTIONS)).state == "complete_with_schema_update"
    assert_equal(simulator, database, "canvas.course_sections")


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
    with pytest.raises(TableFailure, match="column id, line 1 of the job's rows") as caught:
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
