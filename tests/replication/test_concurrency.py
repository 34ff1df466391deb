"""Several processes at once: on an empty database, and on one table."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from local.postgres import EmbeddedPostgres
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl
from tests.replication.conftest import assert_equal, make_replicator, run
from tests.replication.killing import KillingProxy, held, wait_until_gone, wait_until_waiting
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


@pytest.fixture(scope="module")
def workers(
    simulator: SimulatorControl, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    credentials = DapCredentials(simulator.base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
    with Workers(credentials, postgres.password, tmp_path_factory.mktemp("workers") / "log") as made:
        yield made


@pytest.fixture(autouse=True)
def _no_faults(simulator: SimulatorControl, workers: Workers) -> Iterator[None]:
    yield
    workers.kill_all()
    simulator.clear_faults()


@pytest.mark.parametrize("_round", [1, 2])
def test_ten_first_inits_at_once_in_an_empty_database_all_succeed(
    _round: int, workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """Of the official client's, 10 of 25 such rounds failed."""
    tables = [name for name in TEN if name in simulator.tables()]
    assert len(tables) == 10
    started = [workers.start("prepare and init", table, target) for table in tables]
    assert [worker.result().state for worker in started] == ["initialized"] * 10
    assert_equal(simulator, database, *tables)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM instructure_dap.database_version").fetchone() == (1,)
        cursors = "SELECT count(*), count(DISTINCT (source_namespace, source_table)) FROM instructure_dap.table_sync"
        assert connection.execute(cursors).fetchone() == (10, 10)


@pytest.mark.parametrize(("first", "second"), [("init", "init"), ("sync", "sync"), ("init", "sync"), ("sync", "init")])
def test_two_processes_on_one_table_end_with_the_truth(
    first: str, second: str, workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """Two overlapping syncs of the official client can leave deleted rows for ever."""
    table = "canvas.users"
    make_replicator(simulator, target)
    if "sync" in (first, second):
        workers.start("init", table, target).result()
    for turn in range(4):
        simulator.advance(tables=[table], inserts=6, updates=9, deletes=5)
        if turn == 2:
            simulator.alter("canvas", "users", "add_column", f"{first}_{second}_new", type="text", backfill=True)
        one = workers.start(first, table, target)
        if turn % 2:
            # Between the two, the world goes on: the later one has other changes than the first.
            time.sleep(0.05 * turn)
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
    workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """The older one, in which the rows still live, arrives when the newer one has deleted them."""
    table = "canvas.courses"
    replicator = make_replicator(simulator, target)
    run(init(replicator, "canvas.courses"))
    rows = simulator.tables()[table]["rows"]
    simulator.advance(tables=[table], updates=rows)
    simulator.reset_stats()
    simulator.job_seconds(3)
    try:
        older = workers.start("sync", table, target)
        while not simulator.stats()["jobs"]:
            assert not older.ended
            time.sleep(0.02)
    finally:
        simulator.job_seconds(0)
    changes = simulator.advance(tables=[table], updates=5, deletes=rows - 5)[table]
    forget_jobs(database)
    newer = workers.start("sync", table, target).result()
    assert newer.rows_deleted >= changes["deletes"] > 5
    assert not older.ended
    assert older.result().rows_upserted == 0
    assert_equal(simulator, database, table)
    assert older.result().data_as_of == newer.data_as_of


def test_increments_of_the_same_time_are_applied_one_after_the_other(
    workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """The second waits for the lock before it looks at the cursor, although both were asked for with the same."""
    table = "canvas.quizzes"
    replicator = make_replicator(simulator, target)
    run(init(replicator, "canvas.quizzes"))
    simulator.advance(tables=[table], updates=20)
    with held(database, "LOCK TABLE instructure_dap.table_sync IN SHARE MODE"):
        first = workers.start("sync", table, target)
        wait_until_waiting(database, "UPDATE instructure_dap%")
        simulator.advance(tables=[table], updates=5, deletes=15)
        forget_jobs(database)
        second = workers.start("sync", table, target)
        wait_until_waiting(database, "SELECT pg_advisory_lock%")
    assert first.result().state == second.result().state == "complete"
    assert_equal(simulator, database, table)
    assert run(sync(replicator, "canvas.quizzes")).rows_upserted == 0


@pytest.mark.parametrize("stage", ["in its transaction", "in a statement", "between the two"])
def test_a_killed_worker_does_not_hold_up_the_next(
    stage: str, workers: Workers, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """The lock of a table ends with the session of its holder, and that with its process."""
    table = "canvas.enrollments"
    replicator = make_replicator(simulator, target)
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
                assert wait_until_gone(database) < 8
        case _:
            with KillingProxy(target.host, target.port, text="CREATE UNLOGGED TABLE") as killer:
                through = DatabaseTarget(**(vars(target) | {"port": killer.port}))
                victim = workers.start("sync", table, through)
                killer.victim(victim.pid)
                victim.wait()
    victim.wait()
    assert victim.killed
    started = time.monotonic()
    run(up_to_date(replicator, table))
    assert time.monotonic() - started < 5
    assert_equal(simulator, database, table)
