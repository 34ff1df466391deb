"""Init, sync and re-init of tables, from the simulator into a real PostgreSQL."""

import asyncio
import typing
from typing import Any

import pytest

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.database.locks import TABLE_LOCK
from cd2.replication.errors import StopAll, TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.__main__ import DEFAULT_CLIENT_ID
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, run
from tests.replication.waiting import until
from tests.steps import init, sync


def test_the_tables_are_listed_in_order(replicator: Replicator) -> None:
    names = run(replicator.list_tables("canvas"))
    assert names == sorted(names)
    assert {"users", "submissions", "enrollment_states"} <= {name.table for name in names}


def test_a_new_table_needs_an_init_and_is_equal_after_it(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    assert run(sync(replicator, "canvas.users")).state == "needs_init"
    result = run(init(replicator, "canvas.users"))
    assert (result.action, result.state, result.error) == ("init", "initialized", None)
    assert result.rows_upserted == simulator.tables()["canvas.users"]["rows"]
    assert result.bytes_downloaded > 0
    assert result.job_id
    assert result.data_as_of
    assert_equal(simulator, database, "canvas.users")


def test_a_sync_applies_what_changed_and_says_how_much(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    initialised = run(init(replicator, "canvas.accounts"))
    changes = simulator.advance(tables=["canvas.accounts"], inserts=7, updates=3, deletes=2)["canvas.accounts"]
    result = run(sync(replicator, "canvas.accounts"))
    assert (result.action, result.state) == ("sync", "complete")
    assert result.rows_deleted >= changes["deletes"] == 2
    assert 7 <= result.rows_upserted <= 10
    assert result.since == initialised.data_as_of
    assert_equal(simulator, database, "canvas.accounts")


def test_an_unchanged_table_is_complete_without_rows(replicator: Replicator) -> None:
    run(init(replicator, "canvas.roles"))
    result = run(sync(replicator, "canvas.roles"))
    assert (result.state, result.rows_upserted, result.rows_deleted) == ("complete", 0, 0)


def test_a_changed_schema_is_followed_and_reported(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, "canvas.courses"))
    version = simulator.alter("canvas", "courses", "add_column", "homeroom", type="bool")
    simulator.advance(0.2, ["canvas.courses"])
    result = run(sync(replicator, "canvas.courses"))
    assert (result.state, result.schema_version) == ("complete_with_schema_update", version)
    assert_equal(simulator, database, "canvas.courses")


def test_a_process_full_of_other_types_makes_the_same_table(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """pysqlsync knows an int64 by identity, which lasts as long as Python's small cache of typing expressions."""
    for clear in typing._cleanups:  # type: ignore[attr-defined]
        clear()
    run(init(replicator, "canvas.enrollments"))
    checks = "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'canvas.enrollments'::regclass"
    assert execute(target, checks) == "0"
    simulator.advance(0.2, ["canvas.enrollments"])
    assert run(sync(replicator, "canvas.enrollments")).state == "complete"
    assert_equal(simulator, database, "canvas.enrollments")


def test_keys_delivered_twice_are_loaded_once(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, "canvas_logs.web_logs"))
    assert_equal(simulator, database, "canvas_logs.web_logs")
    simulator.advance(0.3, ["canvas_logs.web_logs"])
    run(sync(replicator, "canvas_logs.web_logs"))
    assert_equal(simulator, database, "canvas_logs.web_logs")


@pytest.mark.parametrize("kind", ["snapshot_required", "out_of_range"])
def test_increments_that_are_no_longer_to_be_had_lead_to_a_reinit(
    kind: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, "canvas.quizzes"))
    simulator.advance(0.2, ["canvas.quizzes"])
    simulator.fault("canvas", "quizzes", kind)
    synced = run(sync(replicator, "canvas.quizzes"))
    assert synced.state == "needs_init"
    assert synced.error is not None
    assert synced.error.uuid
    result = run(init(replicator, "canvas.quizzes"))
    assert (result.action, result.state) == ("reinit", "initialized")
    assert_equal(simulator, database, "canvas.quizzes")


def test_a_full_refresh_replaces_the_rows(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, "canvas.groups"))
    execute(target, "DELETE FROM canvas.groups")
    assert run(sync(replicator, "canvas.groups", full_refresh=True)).state == "needs_init"
    assert run(init(replicator, "canvas.groups")).action == "reinit"
    assert_equal(simulator, database, "canvas.groups")


def test_rows_left_by_an_interrupted_init_do_not_hold_up_the_next(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The official client then dies on duplicate keys, for ever."""
    run(init(replicator, "canvas.scores"))
    execute(target, "DELETE FROM instructure_dap.table_sync WHERE source_table = 'scores'")
    assert run(sync(replicator, "canvas.scores")).state == "needs_init"
    assert run(init(replicator, "canvas.scores")).action == "reinit"
    assert_equal(simulator, database, "canvas.scores")


def test_wrong_credentials_stop_everything(simulator: SimulatorControl, target: DatabaseTarget) -> None:
    wrong = Replicator(DapCredentials(simulator.base_url, DEFAULT_CLIENT_ID, "wrong-secret-1"), target, 6000)
    with pytest.raises(StopAll) as caught:
        run(wrong.list_tables("canvas"))
    assert "refused the credentials" in caught.value.message
    assert "wrong-secret-1" not in caught.value.message


def test_an_unreachable_service_is_worth_another_try(target: DatabaseTarget) -> None:
    nowhere = Replicator(DapCredentials("http://127.0.0.1:1", "id", "secret"), target, 6000)
    with pytest.raises(TransientError, match="could not be reached"):
        run(nowhere.list_tables("canvas"))


def test_two_inits_at_once_of_one_table_take_turns(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The second waits for the lock instead of loading the same rows beside the first."""

    async def both() -> None:
        holder = await connect(target)
        await holder.execute("SELECT pg_advisory_lock($1, hashtext($2))", TABLE_LOCK, "canvas.rubrics")
        second = asyncio.create_task(init(replicator, "canvas.rubrics"))
        looker = await connect(target)

        async def waits() -> bool:
            return bool(
                await looker.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            )

        await until(waits, second)
        assert await looker.fetchval("SELECT to_regclass('canvas.rubrics') IS NULL")
        await looker.close()
        await holder.close()
        assert (await second).state == "initialized"

    run(both())
    assert_equal(simulator, database, "canvas.rubrics")


def test_the_url_of_a_job_is_at_the_host_that_was_asked(replicator: Replicator, simulator: SimulatorControl) -> None:
    job_id = run(replicator.ask(TableName("canvas", "roles"), None))

    async def opened() -> Any:
        async with replicator.session() as session:
            await session.authenticate()
            async with session._session.get(replicator.job_url(job_id), headers=session._headers) as answer:
                return await answer.json()

    assert replicator.job_url(job_id).startswith(f"{simulator.base_url}/")
    assert run(opened())["id"] == job_id
