"""Several processes at once: on an empty database, and on one table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.killing import WRITING_CURSOR, KillingProxy, held, wait_until_gone, wait_until_waiting
from tests.replication.replica import assert_equal, run, target_of
from tests.replication.worker import Workers, up_to_date
from tests.steps import init, sync

TEN = [
    "canvas.accounts",
    "canvas.assignments",
    "canvas.courses",
    "canvas.enrollments",
    "canvas.pseudonyms",
    "canvas.quizzes",
    "canvas.submissions",
    "canvas.users",
    "canvas_logs.web_logs",
    "new_quizzes.quizzes",
]


@pytest.fixture
def workers(shared_workers: Workers, target: DatabaseTarget) -> Iterator[Workers]:
    """Asked for after the database: what a failing test leaves at work ends before that is dropped."""
    yield shared_workers
    shared_workers.kill_all()


def test_ten_first_inits_at_once_in_an_empty_database_all_succeed(
    shared_workers: Workers, simulator: SimulatorControl, empty_database: str
) -> None:
    """Of the official client's, 10 of 25 such rounds failed."""
    started = [shared_workers.start("prepare and init", table, target_of(empty_database)) for table in TEN]
    try:
        assert [worker.result().state for worker in started] == ["initialized"] * 10
    finally:
        shared_workers.kill_all()
    assert_equal(simulator, empty_database, *TEN)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT count(*) FROM instructure_dap.database_version").fetchone() == (1,)
        cursors = "SELECT count(*), count(DISTINCT (source_namespace, source_table)) FROM instructure_dap.table_sync"
        assert connection.execute(cursors).fetchone() == (10, 10)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_an_isolation_that_the_database_sets_lets_no_table_fail_that_waits_with_others(
    isolation: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """They share the clock of the turns, a row that all of them update."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"ALTER DATABASE \"{target.dbname}\" SET default_transaction_isolation = '{isolation}'".encode()
        )

    async def all_at_once() -> list[str]:
        return [result.state for result in await asyncio.gather(*(init(replicator, table) for table in TEN))]

    assert run(all_at_once()) == ["initialized"] * 10
    assert_equal(simulator, database, *TEN)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sync", "sync"),
        ("init", "sync"),
        pytest.param("init", "init", marks=pytest.mark.slow),
        pytest.param("sync", "init", marks=pytest.mark.slow),
    ],
)
def test_two_processes_on_one_table_end_with_the_truth(
    first: str, second: str, workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """Two overlapping syncs of the official client can leave deleted rows for ever."""
    table = "canvas.users"
    if "sync" in (first, second):
        workers.start("init", table, target).result()
    for turn in range(3):
        simulator.advance(tables=[table], inserts=6, updates=9, deletes=5)
        if turn == 2:
            simulator.alter("canvas", "users", "add_column", "new", type="text", backfill=True)
        one = workers.start(first, table, target)
        if turn % 2:
            # Between the two, the world goes on: the later one has other changes than the first.
            simulator.advance(tables=[table], inserts=2, updates=3, deletes=3)
        other = workers.start(second, table, target)
        results = [one.result(), other.result()]
        good = ("initialized", "complete", "complete_with_schema_update")
        assert all(result.state in good for result in results), results
        if turn % 2:
            # Whoever was asked first may have committed last, with what was true when it asked.
            workers.start("update", table, target).result()
        assert_equal(simulator, database, table)


def forget_jobs(database: str) -> None:
    """So that the next process asks DAP itself, as one would that uses another key."""
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM cd2.jobs")


def test_increments_that_overlap_do_not_bring_deleted_rows_back(
    replicator: Replicator, workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """The older one, in which the rows still live, waits for the table while the newer one deletes them."""
    table = TableName("canvas", "courses")
    run(init(replicator, table))
    rows = simulator.tables()[str(table)]["rows"]
    simulator.advance(tables=[str(table)], updates=rows)
    older_job = run(replicator.ask(table, run(replicator.cursor(table))))
    simulator.advance(tables=[str(table)], updates=5, deletes=rows - 5)
    forget_jobs(database)
    with held(database, "LOCK TABLE instructure_dap.table_sync IN SHARE MODE"):
        newer = workers.start("sync", str(table), target)
        wait_until_waiting(database, WRITING_CURSOR)
        older = workers.start("load", str(table), target, older_job)
        wait_until_waiting(database, "SELECT pg_advisory_lock%")
    assert newer.result().rows_deleted >= rows - 5
    assert (older.result().state, older.result().rows_upserted) == ("complete", 0)
    assert older.result().data_as_of == newer.result().data_as_of
    assert_equal(simulator, database, str(table))


def test_increments_of_the_same_time_are_applied_one_after_the_other(
    replicator: Replicator, workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """The second waits for the lock before it looks at the cursor, although both were asked for with the same."""
    table = "canvas.quizzes"
    run(init(replicator, "canvas.quizzes"))
    simulator.advance(tables=[table], updates=20)
    with held(database, "LOCK TABLE instructure_dap.table_sync IN SHARE MODE"):
        first = workers.start("sync", table, target)
        wait_until_waiting(database, WRITING_CURSOR)
        simulator.advance(tables=[table], updates=5, deletes=15)
        forget_jobs(database)
        second = workers.start("sync", table, target)
        wait_until_waiting(database, "SELECT pg_advisory_lock%")
    assert first.result().state == second.result().state == "complete"
    assert_equal(simulator, database, table)
    assert run(sync(replicator, "canvas.quizzes")).rows_upserted == 0


@pytest.mark.parametrize(
    "stage",
    [
        "in a statement",
        pytest.param("in its transaction", marks=pytest.mark.slow),
        pytest.param("between the two", marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_does_not_hold_up_the_next(
    stage: str,
    replicator: Replicator,
    workers: Workers,
    simulator: SimulatorControl,
    target: DatabaseTarget,
    database: str,
) -> None:
    """The lock of a table ends with the session of its holder, and that with its process."""
    table = "canvas.enrollments"
    run(init(replicator, "canvas.enrollments"))
    simulator.advance(tables=[table], inserts=5, updates=9, deletes=5)
    match stage:
        case "in its transaction":
            simulator.fault("canvas", "enrollments", "slow_download", seconds=20)
            victim = workers.start("sync", table, target)
            wait_until_waiting(database, "COPY%", event="Client")
            victim.kill()
        case "in a statement":
            with held(database, f"SELECT FROM {table} FOR UPDATE"):
                victim = workers.start("sync", table, target)
                wait_until_waiting(database, "DELETE FROM%")
                victim.kill()
                # Although what it waits for is still locked.
                wait_until_gone(database)
        case _:
            with KillingProxy(target.host, target.port, text="CREATE UNLOGGED TABLE") as killer:
                through = DatabaseTarget(**(vars(target) | {"port": killer.port}))
                victim = workers.start("sync", table, through)
                killer.victim(victim.pid)
                victim.wait()
    victim.wait()
    assert victim.killed
    wait_until_gone(database)
    run(up_to_date(replicator, table))
    assert_equal(simulator, database, table)
