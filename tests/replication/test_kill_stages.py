"""A loading process is killed with SIGKILL at every stage of its work: the replica is wholly old or wholly new."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import pytest

from cd2.replication.database.locks import TABLE_LOCK
from cd2.replication.dependents.restore import DEPENDENTS_LOCK
from cd2.replication.names import TableName
from tests.replication.killing import WRITING_CURSOR, held, wait_until_gone, wait_until_waiting
from tests.replication.victims import HOLD_COMMIT, HOLD_REFRESH, World
from tests.replication.waiting import wait_until


@dataclass(frozen=True)
class Stage:
    """A statement in which a load is held and killed.

    :param changes: what the load has to do.
    :param hold: what another session does so that the statement must wait.
    :param statement: LIKE pattern of the statement.
    """

    name: str
    changes: tuple[str, ...]
    hold: str
    statement: str


SLOW = pytest.mark.slow


def staging(table: str) -> str:
    """The staging table of a table."""
    return "cd2.stage_" + sha256(TableName.parse(table).quoted.encode()).hexdigest()[:16]


STAGING = staging("canvas.victims")
READER = "LOCK TABLE canvas.victims IN ACCESS SHARE MODE"
CURSOR = "LOCK TABLE instructure_dap.table_sync IN SHARE MODE"
ROW_LOCKS = "SELECT FROM canvas.victims FOR UPDATE"
REFRESH = f"SELECT pg_advisory_xact_lock({HOLD_REFRESH})"
MAKING_STAGING = Stage("making the staging table", ("delete",), f"CREATE TABLE {STAGING} ()", "CREATE UNLOGGED%")
INDEXING = Stage("indexing the staged rows", ("delete",), f"CREATE TABLE {STAGING}_key ()", "CREATE UNIQUE INDEX%")
ADDITIVE = Stage("additive DDL", ("add", "delete"), READER, "%ADD COLUMN%")
BREAKING = Stage("breaking DDL", ("widen",), READER, "%DATA TYPE%")
VIEWS = Stage("locking the views", ("widen",), "SELECT FROM analytics.counted", "%OWNER TO%")
REFILL = Stage("refilling a materialized view", ("widen", "delete"), REFRESH, "REFRESH%")
DELETE = Stage("deleting", ("delete",), ROW_LOCKS, "DELETE FROM%")
MERGE = Stage("upserting", (), ROW_LOCKS, "MERGE INTO%")
CLOSING = Stage("closing DDL", ("require", "delete"), READER, "%SET NOT NULL%")
NARROWING = Stage("narrowing an enumeration", ("narrow",), READER, "%RENAME TO%")
FRESH = Stage(
    "noting how fresh it is",
    ("widen", "delete"),
    "LOCK TABLE cd2.freshness IN EXCLUSIVE MODE",
    "%INSERT INTO cd2.freshness%",
)
WRITE_CURSOR = Stage("writing the cursor", ("widen", "add", "delete"), CURSOR, WRITING_CURSOR)

SYNC_STAGES = (
    Stage("reading the cursor", ("delete",), "LOCK TABLE instructure_dap.table_sync", "SELECT timestamp%"),
    Stage("recalling a job", ("delete",), "LOCK TABLE cd2.jobs", "%FROM cd2.jobs%"),
    Stage("taking a turn", ("delete",), "LOCK TABLE cd2.pacer", "%INSERT INTO cd2.pacer%"),
    Stage("noting the turn", ("delete",), "LOCK TABLE cd2.jobs IN EXCLUSIVE MODE", "%INSERT INTO cd2.jobs%"),
    Stage(
        "the table's lock",
        ("delete",),
        f"SELECT pg_advisory_xact_lock({TABLE_LOCK}, hashtext('canvas.victims'))",
        "SELECT pg_advisory_lock%",
    ),
    ADDITIVE,
    MAKING_STAGING,
    INDEXING,
    BREAKING,
    Stage(
        "finding the views", ("widen",), f"SELECT pg_advisory_xact_lock({DEPENDENTS_LOCK})", "%pg_advisory_xact_lock%"
    ),
    VIEWS,
    REFILL,
    DELETE,
    MERGE,
    CLOSING,
    NARROWING,
    WRITE_CURSOR,
    FRESH,
)
REINIT_STAGES = (ADDITIVE, INDEXING, BREAKING, REFILL, DELETE, MERGE, CLOSING, WRITE_CURSOR, FRESH)


def named(stages: tuple[Stage, ...], quick: Stage) -> list[object]:
    """All of them, by name; only one is tried whenever tests run."""
    return [
        pytest.param(stage, id=stage.name.replace(" ", "-"), marks=() if stage == quick else pytest.mark.slow)
        for stage in stages
    ]


def kill_in(world: World, action: str, stage: Stage) -> None:
    world.change(*stage.changes)
    before = world.state()
    with held(world.database, stage.hold):
        worker = world.start(action)
        wait_until_waiting(world.database, stage.statement)
        worker.kill()
        worker.wait()
    assert worker.killed
    assert world.judge(before) == "old"
    world.converge()


@pytest.mark.parametrize("stage", named(SYNC_STAGES, quick=REFILL))
def test_a_sync_that_is_killed_in_a_statement_changes_nothing_and_the_next_makes_up(world: World, stage: Stage) -> None:
    kill_in(world, "sync", stage)


@pytest.mark.parametrize("stage", named(REINIT_STAGES, quick=WRITE_CURSOR))
def test_a_reinit_that_is_killed_in_a_statement_changes_nothing_and_the_next_run_makes_up(
    world: World, stage: Stage
) -> None:
    kill_in(world, "init", stage)


@pytest.mark.parametrize(
    ("hold", "statement"),
    [
        pytest.param("CREATE TABLE TABLE_NAME ()", "%CREATE TABLE%", id="making-the-table", marks=SLOW),
        pytest.param("CREATE TABLE STAGING_key ()", "CREATE UNIQUE INDEX%", id="indexing-the-staged-rows", marks=SLOW),
        pytest.param(CURSOR, WRITING_CURSOR, id="writing-the-cursor"),
    ],
)
def test_an_init_that_is_killed_in_a_statement_leaves_nothing_and_the_next_fills_the_table(
    world: World, hold: str, statement: str
) -> None:
    table = world.fresh_table()
    before = world.state(table)
    with held(world.database, hold.replace("TABLE_NAME", table).replace("STAGING", staging(table))):
        worker = world.start("init", table)
        wait_until_waiting(world.database, statement)
        worker.kill()
        worker.wait()
    assert world.judge(before, table) == "old"
    world.converge(table)


@pytest.mark.parametrize("action", ["sync", pytest.param("init", marks=SLOW)])
def test_a_load_that_is_killed_in_its_commit_is_wholly_old_or_wholly_new(world: World, action: str) -> None:
    world.change("widen", "add", "delete")
    before = world.state()
    with held(world.database, f"SELECT pg_advisory_xact_lock({HOLD_COMMIT})"):
        worker = world.start(action)
        wait_until_waiting(world.database, "COMMIT%")
        worker.kill()
        worker.wait()
    world.judge(before)
    world.converge()


@pytest.mark.parametrize("action", [pytest.param("sync", marks=SLOW), "init"])
def test_a_load_that_is_killed_while_it_copies_changes_nothing(world: World, action: str) -> None:
    world.change("widen", "delete")
    before = world.state()
    world.control.fault("canvas", "victims", "slow_download", seconds=20)
    worker = world.start(action)
    wait_until_waiting(world.database, "COPY%", event="Client")
    worker.kill()
    assert world.judge(before) == "old"
    world.converge()


@SLOW
def test_an_init_that_is_killed_while_it_copies_leaves_no_table(world: World) -> None:
    table = world.fresh_table()
    before = world.state(table)
    namespace, name = table.split(".")
    world.control.fault(namespace, name, "slow_download", seconds=20)
    worker = world.start("init", table)
    wait_until_waiting(world.database, "COPY%", event="Client")
    worker.kill()
    assert world.judge(before, table) == "old"
    world.converge(table)


@SLOW
@pytest.mark.parametrize("endpoint", ["login", "data", "schema", "object", "download"])
def test_a_load_that_is_killed_while_it_waits_for_the_service_changes_nothing(world: World, endpoint: str) -> None:
    world.change("widen", "delete")
    before = world.state()
    namespace, table = ("*", "*") if endpoint == "login" else ("canvas", "victims")
    world.control.fault(namespace, table, "hang", endpoint=endpoint)
    worker = world.start("sync")
    wait_until(lambda: not world.control.stats()["faults_to_come"])
    worker.kill()
    assert world.judge(before) == "old"
    world.converge()


def test_a_load_that_is_killed_while_its_job_is_under_way_is_gone_on_with_by_the_next(world: World) -> None:
    world.change("widen", "delete")
    before = world.state()
    world.control.reset_stats()
    world.control.job_seconds(0.2)
    world.control.fault("canvas", "victims", "hang", endpoint="job")
    try:
        worker = world.start("sync")
        wait_until(lambda: not world.control.stats()["faults_to_come"])
        worker.kill()
        assert world.judge(before) == "old"
        world.converge()
    finally:
        world.control.job_seconds(0)
    assert world.control.stats()["jobs"] == {World.table: 1}


# test_kill_anywhere.py kills at every message; these are the ones to look at when something is torn.
AT_STATEMENTS = [
    ("sync", "SAVEPOINT", True),
    ("sync", "DROP VIEW", False),
    ("sync", "DROP MATERIALIZED VIEW", True),
    ("sync", "DATA TYPE", True),
    ("sync", "CREATE VIEW", True),
    ("sync", "CREATE MATERIALIZED VIEW", True),
    ("sync", "CREATE UNIQUE INDEX", False),
    ("sync", "GRANT", True),
    ("sync", "DROP TABLE", True),
    ("sync", "COMMIT", False),
    ("sync", "COMMIT", True),
    ("init", "DROP MATERIALIZED VIEW", False),
    ("init", "CREATE VIEW", False),
    ("init", "COMMIT", False),
    ("init", "COMMIT", True),
]


@SLOW
@pytest.mark.parametrize(("action", "text", "delivered"), AT_STATEMENTS)
def test_a_load_that_is_killed_at_a_statement_is_wholly_old_or_wholly_new(
    world: World, action: str, text: str, delivered: bool
) -> None:
    world.change("widen", "delete")
    before = world.state()
    with world.proxy(text=text, delivered=delivered) as killer:
        worker = world.start(action, through=killer)
        worker.wait()
        assert killer.struck
        assert worker.killed
        assert world.judge(before) == ("new" if text == "COMMIT" and delivered else "old")
    world.converge()


def test_a_statement_whose_client_was_killed_does_not_wait_on(world: World) -> None:
    world.change("delete")
    before = world.state()
    with held(world.database, ROW_LOCKS):
        worker = world.start("sync")
        wait_until_waiting(world.database, "DELETE FROM%")
        worker.kill()
        # Although the rows are still locked.
        wait_until_gone(world.database)
    assert world.judge(before) == "old"
    world.converge()
