"""Verification beside other features: tables that are only added to, what people made, the ledger and the status."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import Verification
from cd2.replication.verification.verifier import Verifier
from cd2.settings import Settings
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run
from tests.replication.verifying import differences, outcome, rows_of, verify
from tests.steps import init, sync

LOGS = "canvas_logs.visits"
BOXES = "canvas.boxes"
CONSTRAINTS = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1"
LONG = "the_number_of_submissions_that_were_graded_before_the_end_of_the_"


@pytest.fixture
def adding(simulator: SimulatorControl, target: DatabaseTarget) -> Replicator:
    """With a log of 300 rows, of which DAP no longer has 100."""
    replicator = make_replicator(simulator, target, append_only=Settings().append_only_tables)
    simulator.add_table("canvas_logs", "visits", "*id:i64 page:i64 seconds:f64 append_only", rows=300)
    run(init(replicator, LOGS))
    simulator.expire("canvas_logs", "visits", 100, told=True)
    simulator.advance(tables=[LOGS], inserts=20)
    return replicator


@pytest.fixture
def boxes(simulator: SimulatorControl, replicator: Replicator) -> str:
    simulator.add_table("canvas", "boxes", "n:uuid note:text?", rows=12)
    run(init(replicator, BOXES))
    simulator.advance(tables=[BOXES], updates=12)  # no value comes twice then
    run(sync(replicator, BOXES))
    return BOXES


def loads(target: DatabaseTarget, table: str) -> list[tuple[Any, ...]]:
    """The last two rows of the ledger of a table: what was done, and what came of it."""
    return fetch(
        target,
        "SELECT action, state, rows_written, rows_deleted, rows_in_table FROM cd2.loads "
        f"WHERE namespace || '.' || table_name = '{table}' ORDER BY at DESC LIMIT 2",
    )


def test_a_repair_of_a_table_that_is_only_added_to_deletes_nothing(
    adding: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    run(sync(adding, LOGS))
    expired = rows_of(database, LOGS, "id").keys() - _truth(simulator)
    assert len(expired) == 100
    with psycopg.connect(database, autocommit=True) as connection:
        kept = sorted(map(_number, _truth(simulator)))
        connection.execute(f"DELETE FROM {LOGS} WHERE id = ANY(%s)".encode(), [kept[:3]])
        connection.execute(f"UPDATE {LOGS} SET page = page + 1 WHERE id = ANY(%s)".encode(), [kept[3:7]])
    found = outcome(verify(adding, LOGS, repair=True))
    assert (found.outcome, found.missing, found.different, found.extra, found.rows_kept) == ("repaired", 3, 4, 0, 100)
    assert rows_of(database, LOGS, "id").keys() == expired | _truth(simulator)
    assert execute(target, f"SELECT count(*) FROM {LOGS}") == "320"
    assert loads(target, LOGS)[0] == ("verify", "repaired", 7, 0, 320)


def test_a_snapshot_without_objects_takes_nothing_from_a_table_that_is_only_added_to(
    adding: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    """A full refresh is refused: its cursor would move over changes. A repair moves none."""
    simulator.fault("canvas_logs", "visits", "no_objects", times=2)
    with pytest.raises(TableFailure, match="the snapshot is empty, but the table has"):
        run(init(adding, LOGS))
    found = outcome(verify(adding, LOGS, repair=True))
    assert (found.outcome, found.rows_compared, found.extra) == ("postponed", 0, 0)
    assert "the snapshot is empty, so none of the table's rows could be compared" in str(found)
    assert execute(target, "SELECT verified_at FROM cd2.status") == "None", "nothing was compared"
    assert found.rows_kept + found.rows_left_out >= 300
    assert int(execute(target, f"SELECT count(*) FROM {LOGS}")) >= 300


@pytest.mark.parametrize(
    "people",
    [
        f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n)",
        f"CREATE UNIQUE INDEX mine ON {BOXES} (n)",
        f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n);"
        f"CREATE TABLE public.refers (n uuid REFERENCES {BOXES} (n)); INSERT INTO public.refers SELECT n FROM {BOXES}",
    ],
)
def test_a_repair_meets_constraints_of_people_as_a_load_does(
    people: str, boxes: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, database: str
) -> None:
    """Two values have changed places, so each row that is corrected is refused while the other is still wrong."""
    (one, first), (two, second) = fetch(target, f"SELECT id, n FROM {boxes} ORDER BY id LIMIT 2")
    moved = f"n = CASE id WHEN {one} THEN '{second}' ELSE '{first}' END::uuid WHERE id IN ({one}, {two})"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"UPDATE {boxes} SET {moved}".encode())
        connection.execute(people.encode())
        before = connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1"
        ).fetchall()
        found = outcome(verify(replicator, boxes, repair=True))
        assert (found.outcome, found.different) == ("repaired", 2)
        after = connection.execute(CONSTRAINTS).fetchall()
    assert after == before
    assert_equal(simulator, database, boxes)


def test_what_a_repair_cannot_do_names_the_constraint_and_its_table(
    boxes: str, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, f"INSERT INTO {boxes} SELECT max(id) + 1, gen_random_uuid() FROM {boxes}")
    execute(target, f"CREATE TABLE public.notes (box bigint REFERENCES {boxes})")
    execute(target, f"INSERT INTO public.notes SELECT max(id) FROM {boxes}")
    with pytest.raises(TableFailure, match=r"public\.notes"):
        verify(replicator, boxes, repair=True)
    assert execute(target, f"SELECT count(*) FROM {boxes}") == "13"


def test_names_that_postgresql_cuts_and_types_that_people_have_taken_are_compared(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, "CREATE TYPE canvas.things__state AS ENUM ('mine')")
    simulator.add_table(
        "canvas", "things", f"{LONG}one:i64? {LONG}two:enum(a|b)? state:enum(c|d)? states:enum(c|d)[]?", rows=60
    )
    run(init(replicator, "canvas.things"))
    assert outcome(verify(replicator, "canvas.things")).outcome == "equal"
    execute(target, f"UPDATE canvas.things SET state = (CASE state WHEN 'c' THEN 'd' ELSE 'c' END)::{_type(target)}")
    found = outcome(verify(replicator, "canvas.things", repair=True))
    assert (found.outcome, found.different, set(found.columns)) == ("repaired", 60, {"state"})
    assert outcome(verify(replicator, "canvas.things")).outcome == "equal"


def test_a_table_of_nothing_but_its_key_is_compared(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget, database: str
) -> None:
    simulator.add_table("canvas", "keys", "*left:i64 *right:s20", 50)
    run(init(replicator, "canvas.keys"))
    execute(target, 'DELETE FROM canvas.keys WHERE "left" % 2 = 0')
    execute(target, "INSERT INTO canvas.keys VALUES (-1, 'NaN')")
    found = outcome(verify(replicator, "canvas.keys", repair=True))
    assert (found.outcome, found.extra, found.different) == ("repaired", 1, 0)
    assert found.missing > 0
    assert differences(database, "canvas.keys")["extra"] == {'{"left": -1, "right": "NaN"}'}
    assert_equal(simulator, database, "canvas.keys")


def test_a_schema_that_moves_on_after_all_jobs_is_no_reason_not_to_compare(
    boxes: str, replicator: Replicator, simulator: SimulatorControl
) -> None:
    """The jobs and the table have one version; DAP describes a newer one already."""

    async def work() -> Verification | None:
        name = TableName.parse(boxes)
        cursor = await replicator.cursor(name)
        assert cursor is not None
        jobs = await Verifier(replicator).ask(name, cursor, tries=3, place=None)
        simulator.alter("canvas", "boxes", "add_column", "later", type="text", backfill=True)
        return (await Verifier(replicator).verify(name, *jobs)).verification

    found = run(work())
    assert found is not None
    assert found.outcome == "equal"


# -- what the ledger and the status say ------------------------------------------------------------


def test_each_verification_has_a_row_in_the_ledger_and_the_status_says_when_all_was_equal(
    boxes: str, replicator: Replicator, target: DatabaseTarget
) -> None:
    def verified_at() -> str:
        return execute(target, "SELECT verified_at FROM cd2.status WHERE table_name = 'boxes'")

    assert verified_at() == "None"
    verify(replicator, boxes)
    assert loads(target, boxes) == [("verify", "equal", 0, 0, 12), ("sync", "complete", 0, 0, 12)]
    first = verified_at()
    assert first == execute(target, "SELECT verified_at FROM cd2.verifications")
    execute(target, f"DELETE FROM {boxes} WHERE id IN (SELECT id FROM {boxes} LIMIT 5)")
    verify(replicator, boxes)
    assert loads(target, boxes)[0] == ("verify", "different", 0, 0, 7)
    assert verified_at() == "None", "whoever reads it takes a table for verified that is known to be wrong"
    result = verify(replicator, boxes, repair=True)
    assert (result.rows_upserted, result.rows_deleted) == (5, 0)
    assert loads(target, boxes)[0] == ("verify", "repaired", 5, 0, 12)
    assert verified_at() > first
    state, rows, changed = fetch(target, "SELECT state, rows_in_table, last_change_at FROM cd2.status")[0]
    assert (state, rows) == ("complete", 12)
    assert changed == fetch(target, "SELECT max(at) FROM cd2.loads")[0][0]
    columns = "job_id, run_id, bytes_downloaded > 0, seconds > 0, schema_version, data_as_of IS NOT NULL, error"
    job, *rest = fetch(target, f"SELECT {columns} FROM cd2.loads ORDER BY at DESC LIMIT 1")[0]
    assert job == execute(target, "SELECT snapshot_job FROM cd2.verifications ORDER BY verified_at DESC LIMIT 1")
    assert rest == [None, True, True, result.schema_version, True, None]


def test_a_verification_that_fails_leaves_a_row_in_the_ledger_and_the_table_up_to_date(
    boxes: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    simulator.fault("canvas", "boxes", "malformed_value", column="n")
    with pytest.raises((TableFailure, TransientError)) as caught:
        verify(replicator, boxes)
    assert loads(target, boxes) == [("verify", "failed", 0, 0, None), ("sync", "complete", 0, 0, 12)]
    assert execute(target, "SELECT error FROM cd2.loads ORDER BY at DESC LIMIT 1") == caught.value.message
    assert fetch(target, "SELECT state, error, rows_in_table FROM cd2.status") == [("complete", None, 12)]


def test_a_refusal_is_noted_with_its_reason(
    boxes: str, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    result = run(sync(replicator, boxes))
    refused = Verification("refused", False, reason="DAP refuses this kind of request.")
    assert run(Verifier(replicator).not_verified(result, refused)).verification == refused
    assert loads(target, boxes)[0] == ("verify", "refused", 0, 0, None)
    assert execute(target, "SELECT error FROM cd2.loads ORDER BY at DESC LIMIT 1") == refused.reason
    assert execute(target, "SELECT rows_in_table FROM cd2.status") == "12"


def _truth(simulator: SimulatorControl) -> set[str]:
    """The keys of the log that DAP has."""
    _, *rows = simulator.truth("canvas_logs", "visits")
    return {f'{{"id": {row[0]}}}' for row in rows}


def _number(key: str) -> int:
    return int(key.partition(":")[2].strip(" }"))


def _type(target: DatabaseTarget) -> str:
    """The type that the column `state` has really got."""
    return execute(
        target,
        "SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'canvas.things'::regclass AND attname = 'state'",
    )
