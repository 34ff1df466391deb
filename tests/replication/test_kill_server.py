"""PostgreSQL itself goes away in the middle of a load: a backend is ended, or the whole server is killed."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from cd2.replication.errors import Cd2Error, TransientError
from local.postgres import EmbeddedPostgres
from tests.replication.killing import WRITING_CURSOR, held, wait_until_waiting
from tests.replication.replica import credentials_of, prepare, run, target_of
from tests.replication.replica_state import Replica
from tests.replication.simulators import NO_LIMITS, simulator_process
from tests.replication.victims import HOLD_REFRESH, World, world_of
from tests.replication.waiting import wait_until
from tests.replication.worker import Workers, up_to_date

STAGING = "cd2.stage_" + sha256(b'"canvas"."victims"').hexdigest()[:16]
CURSOR = "LOCK TABLE instructure_dap.table_sync IN SHARE MODE"
STAGES = [
    (("widen", "delete"), f"CREATE TABLE {STAGING}_key ()", "CREATE UNIQUE INDEX%"),
    (("widen", "delete"), f"SELECT pg_advisory_xact_lock({HOLD_REFRESH})", "REFRESH%"),
    (("delete",), "SELECT FROM canvas.victims FOR UPDATE", "DELETE FROM%"),
    (("widen", "add", "delete"), CURSOR, WRITING_CURSOR),
]
EACH_STAGE = [
    pytest.param(*stage, id=stage[2].split()[0].rstrip("%"), marks=() if stage == STAGES[-1] else pytest.mark.slow)
    for stage in STAGES
]


def failure_of_an_ended_backend(world: World, statement: str, event: str = "Lock") -> Cd2Error:
    """Load, and end the backend when it waits in a statement."""

    async def work() -> Cd2Error:
        load = asyncio.create_task(up_to_date(world.replicator, world.table))
        pid = await asyncio.to_thread(wait_until_waiting, world.database, statement, event=event)
        await asyncio.to_thread(world.execute, f"SELECT pg_terminate_backend({pid})")
        try:
            await load
        except Cd2Error as error:
            return error
        raise AssertionError("the load did not notice that its session was ended")

    return run(work())


@pytest.mark.parametrize(("changes", "hold", "statement"), EACH_STAGE)
def test_a_load_whose_session_is_ended_is_worth_another_try(
    world: World, changes: tuple[str, ...], hold: str, statement: str
) -> None:
    world.change(*changes)
    before = world.state()
    with held(world.database, hold):
        error = failure_of_an_ended_backend(world, statement)
    assert type(error) is TransientError
    assert "canvas.victims: sync failed" in error.message
    assert "it will be retried" in error.message
    assert error.result is not None
    assert (error.result.state, error.result.rows_upserted) == ("failed", 0)
    assert world.judge(before) == "old"
    world.converge()


@pytest.mark.slow
def test_a_load_whose_session_is_ended_while_it_copies_is_worth_another_try(world: World) -> None:
    world.change("widen", "delete")
    before = world.state()
    world.control.fault("canvas", "victims", "slow_download", seconds=10)
    error = failure_of_an_ended_backend(world, "COPY%", event="Client")
    assert type(error) is TransientError
    assert "it will be retried" in error.message
    assert world.judge(before) == "old"
    world.converge()


def kill_server(server: EmbeddedPostgres) -> None:
    """As a power cut, or the kernel short of memory, would: the postmaster and all its processes at once."""
    assert server.pid is not None
    # Stopped first, so that it makes no more of them. (The launcher may stand between us and the postmaster.)
    family = [psutil.Process(server.pid)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            family += process.children()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: all(_dead(process) for process in family))


def _dead(process: psutil.Process) -> bool:
    try:
        # In a container nobody may care for orphans: they stay as zombies.
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def restart(server: EmbeddedPostgres) -> None:
    server.stop()
    server.start()


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(STAGES[1:2], id="once"),
        pytest.param(STAGES * 2, id="often", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_is_killed_comes_back_with_whole_loads_only(
    tmp_path: Path, stages: list[tuple[tuple[str, ...], str, str]]
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(tmp_path / "server", durable=True))
        prepare(target_of(server.dsn()))
        # Its tables have the names of the other world's, and the server has a password of its own.
        control = stack.enter_context(simulator_process(tmp_path, "--rows", "5", *NO_LIMITS))
        workers = stack.enter_context(Workers(credentials_of(control), server.password, tmp_path / "workers.log"))
        world = stack.enter_context(world_of(control, server.dsn(), workers))
        for changes, hold, statement in stages:
            world.change(*changes)
            before = world.state()
            with held(world.database, hold):
                worker = world.start("sync")
                wait_until_waiting(world.database, statement)
                kill_server(server)
                answer = worker.wait()
            assert answer["error"] == "TransientError"
            assert "retried" in answer["message"]
            restart(server)
            assert world.judge(before) == "old"
            world.update()
            after = world.state()
            # What was committed a moment ago is there, too.
            kill_server(server)
            restart(server)
            assert Replica.read(world.database, world.table) == after
            world.converge()
