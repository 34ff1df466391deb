"""What users do to columns and rows of Canvas that no increment brings back: the same run takes a snapshot."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TransientError
from cd2.replication.load import rows
from cd2.replication.replicator import Replicator
from local.postgres.installation import installation
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, make_replicator, run, target_of
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

TABLE = "canvas.notes"
ALTER = f"ALTER TABLE {TABLE}"
ALTERED = {
    "a dropped column": (f"{ALTER} DROP COLUMN note", "note"),
    "a dropped enumeration": (f"{ALTER} DROP COLUMN kind", "kind"),
    "a dropped list": (f"{ALTER} DROP COLUMN tags", "tags"),
    "two renamed columns": (f"{ALTER} RENAME note TO remark; {ALTER} RENAME n TO number", "n, note"),
    "a renamed value": ("ALTER TYPE canvas.notes__kind RENAME VALUE 'a' TO 'alpha'", "kind"),
    "only the day of a time": (f"{ALTER} ALTER at TYPE date", "at"),
    "another time zone": (f"{ALTER} ALTER at TYPE timestamptz USING at AT TIME ZONE 'Asia/Tokyo'", "at"),
    "a rounded number": (f"{ALTER} ALTER amount TYPE int", "amount"),
    "a column that was dropped and added again": (f"{ALTER} DROP note; {ALTER} ADD note text", "note"),
    "two columns that changed places": (
        f"{ALTER} RENAME note TO other; {ALTER} RENAME name TO note; {ALTER} RENAME other TO name; "
        f"{ALTER} ALTER name TYPE varchar(40) USING left(name, 40), ALTER note TYPE text",
        "name, note",
    ),
    "a rounded time": (f"{ALTER} ALTER t TYPE time(0)", "t"),
    "a list as text": (f"{ALTER} ALTER tags TYPE text", "tags"),
    "a list as JSON": (f"{ALTER} ALTER tags TYPE jsonb USING to_jsonb(tags)", "tags"),
    "a list of shorter texts": (f"{ALTER} ALTER tags TYPE varchar(3)[] USING NULL", "tags"),
    "a text as list": (f"{ALTER} ALTER note TYPE text[] USING ARRAY[note]", "note"),
    "a shortened text": (f"{ALTER} ALTER name TYPE varchar(5) USING left(name, 5)", "name"),
}
HARMLESS = {
    "a longer text": f"{ALTER} ALTER name TYPE text",
    "a number as text": f"{ALTER} ALTER n TYPE text",
    "a time as text": f"{ALTER} ALTER at TYPE text",
    "JSON as it was written": f"{ALTER} ALTER doc TYPE json",
    "an enumeration as text": f"{ALTER} ALTER kind TYPE text",
    "a domain": f"CREATE DOMAIN public.short AS varchar(40); {ALTER} ALTER name TYPE public.short",
    "a renamed type": "ALTER TYPE canvas.notes__kind RENAME TO kinds",
}


@pytest.fixture
def notes(simulator: SimulatorControl, replicator: Replicator) -> str:
    columns = "note:text? name:s40? kind:enum(a|b)? n:i32? amount:num(8,2)? at:ts? t:time? tags:text[]? doc:json?"
    simulator.add_table("canvas", "notes", columns, 60)
    run(init(replicator, TABLE))
    return TABLE


def names(result: Any) -> set[str]:
    """The columns that the reason for an init names."""
    assert result.state == "needs_init"
    assert "it needs a new snapshot." in result.error.message
    return set(
        result.error.message.partition("somebody has dropped, renamed or changed ")[2].split(" since ")[0].split(", ")
    )


@pytest.mark.parametrize("what", ALTERED)
def test_a_column_of_canvas_that_users_changed_gets_all_its_values_back_in_the_same_run(
    what: str, notes: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """It came back empty, or with values of users, in every row that did not happen to change."""
    statement, columns = ALTERED[what]
    admin(database, statement)
    simulator.advance(tables=[notes], updates=3)
    assert names(run(sync(replicator, notes))) == set(columns.split(", "))
    assert run(init(replicator, notes)).state == "initialized"
    assert outcome(verify(replicator, notes)).outcome == "equal"
    for name in ("remark", "number"):
        execute(target, f"{ALTER} DROP COLUMN IF EXISTS {name}")
    assert_equal(simulator, database, notes)


@pytest.mark.parametrize("what", HARMLESS)
def test_a_type_that_holds_all_values_costs_no_snapshot(
    what: str, notes: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    admin(database, HARMLESS[what])
    simulator.advance(tables=[notes], updates=3)
    assert run(sync(replicator, notes)).state == "complete_with_schema_update"
    assert_equal(simulator, database, notes)


def test_a_key_that_users_rounded_gets_its_values_back_in_the_same_run(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "notes", "note:text?", 8)
    run(init(replicator, TABLE))
    largest = execute(target, f"SELECT max(id) FROM {TABLE}")
    admin(database, f"{ALTER} ALTER id TYPE real")
    assert execute(target, f"SELECT max(id)::bigint FROM {TABLE}") != largest
    simulator.advance(tables=[TABLE], updates=2)
    assert names(run(sync(replicator, TABLE))) == {"id"}
    assert run(init(replicator, TABLE)).state == "initialized"
    assert_equal(simulator, database, TABLE)


def test_a_key_that_users_renamed_is_made_again_and_theirs_may_be_empty(
    notes: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """Theirs stayed required, and PostgreSQL refuses to change that in a primary key."""
    admin(database, f"{ALTER} RENAME id TO our_id")
    simulator.advance(tables=[notes], updates=3)
    assert run(sync(replicator, notes)).state == "needs_init"
    assert run(init(replicator, notes)).state == "initialized"
    assert execute(target, f"SELECT count(*) FROM {TABLE} WHERE our_id IS NULL") == "60"
    assert outcome(verify(replicator, notes)).outcome == "equal"
    execute(target, f"{ALTER} DROP COLUMN our_id")
    assert_equal(simulator, database, notes)


REPLACED = {
    "its copy": (f"CREATE TABLE copy AS TABLE {TABLE}; DROP TABLE {TABLE}; ALTER TABLE copy SET SCHEMA canvas; "
                 "ALTER TABLE canvas.copy RENAME TO notes; ALTER TABLE canvas.notes ADD PRIMARY KEY (id)"),
    "an older one": f"ALTER TABLE {TABLE} RENAME TO newer; CREATE TABLE {TABLE} (LIKE canvas.newer INCLUDING ALL); "
                    f"INSERT INTO {TABLE} TABLE canvas.newer LIMIT 50",
}  # fmt: skip


@pytest.mark.parametrize("what", REPLACED)
def test_a_table_that_somebody_replaced_is_made_equal_to_canvas_in_the_same_run(
    what: str, notes: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """The other table may have any rows, such as those of a dump."""
    admin(database, REPLACED[what])
    result = run(sync(replicator, notes))
    assert result.state == "needs_init"
    assert result.error
    assert "somebody has replaced the table since the last load" in result.error.message
    assert run(init(replicator, notes)).state == "initialized"
    assert run(sync(replicator, notes)).state == "complete"
    assert_equal(simulator, database, notes)


@pytest.mark.parametrize("change", [f"{ALTER} DROP note; {ALTER} ADD note text", REPLACED["its copy"]])
def test_what_another_program_made_of_a_table_when_it_moved_the_cursor_is_trusted(
    change: str, notes: str, replicator: Replicator, database: str
) -> None:
    """The official client, for example, may make a table anew."""
    admin(database, change)
    admin(database, "UPDATE instructure_dap.table_sync SET timestamp = timestamp - interval '1 second'")
    assert run(sync(replicator, notes)).state != "needs_init"
    admin(database, f"{ALTER} DROP note; {ALTER} ADD note text")
    assert names(run(sync(replicator, notes))) == {"note"}


def test_a_database_that_was_restored_from_its_dump_needs_no_snapshots(
    notes: str, replicator: Replicator, simulator: SimulatorControl, database: str, empty_database: str
) -> None:
    """All its numbers are others."""
    admin(database, f"{ALTER} DROP note")  # PostgreSQL keeps its number, a dump does not
    assert run(sync(replicator, notes)).state == "needs_init"
    run(init(replicator, notes))
    dump = subprocess.run(
        [installation() / "bin/pg_dump", "--format=custom", database], check=True, capture_output=True
    )
    subprocess.run(
        [installation() / "bin/pg_restore", "--exit-on-error", "--dbname", empty_database],
        input=dump.stdout,
        check=True,
    )
    restored = make_replicator(simulator, target_of(empty_database))
    simulator.advance(tables=[notes], updates=3)
    assert run(sync(restored, notes)).state == "complete"
    assert_equal(simulator, empty_database, notes)
    admin(empty_database, f"{ALTER} DROP note; {ALTER} ADD note text")
    assert names(run(sync(restored, notes))) == {"note"}


MEANWHILE = {
    "a dropped table": f"DROP TABLE {TABLE}",
    "a renamed table": f"{ALTER} RENAME TO notes_2026",
    "a dropped column": f"{ALTER} DROP note",
    "a column of another type": f"{ALTER} ALTER note TYPE int USING NULL",
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_users_change_while_a_snapshot_is_loaded_is_retried(
    what: str,
    notes: str,
    simulator: SimulatorControl,
    target: DatabaseTarget,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was a rejected statement, to be reported as a bug."""
    monkeypatch.setattr(rows, "PROGRESS_EVERY_S", 0.0)
    simulator.settings(rows_per_object=10)
    changes = [MEANWHILE[what]]

    def meanwhile(_: rows.Progress) -> None:
        while changes:
            admin(database, changes.pop())

    loading = make_replicator(simulator, target, progress=meanwhile)
    with pytest.raises(TransientError, match="somebody has changed the table or its columns while it was loaded"):
        run(init(loading, notes))
    assert run(init(loading, notes)).state == "initialized"
    assert_equal(simulator, database, notes)


@pytest.mark.parametrize("changes", [0, 3])
def test_a_table_that_was_emptied_is_filled_again_in_the_same_run(
    changes: int, notes: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """By a person; or because it is unlogged, and the server crashed."""
    admin(database, f"TRUNCATE {notes}")
    simulator.advance(tables=[notes], inserts=changes)
    result = run(sync(replicator, notes))
    assert result.state == "needs_init"
    assert result.error
    assert "the table is empty, but had 60 row(s) after its last load" in result.error.message
    run(init(replicator, notes))
    assert_equal(simulator, database, notes)


def test_a_table_that_is_empty_in_canvas_needs_no_snapshot(
    notes: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.advance(tables=[notes], deletes=60)
    run(sync(replicator, notes))
    for _ in range(2):
        assert run(sync(replicator, notes)).state == "complete"
    assert_equal(simulator, database, notes)


def test_a_column_is_stored_as_people_wanted_also_with_a_new_type(
    notes: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    stored = f"""
SELECT concat_ws(' ', attstorage, attcompression, attstattarget, attoptions, attacl)
FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass AND attname = 'name'"""
    admin(database, f"{ALTER} ALTER name SET STORAGE EXTERNAL, ALTER name SET COMPRESSION pglz")
    admin(database, f"{ALTER} ALTER name SET STATISTICS 500, ALTER name SET (n_distinct = 7)")
    admin(database, f"GRANT SELECT (name) ON {TABLE} TO pg_monitor")
    before = execute(target, stored)
    assert before.startswith("e p 500 {n_distinct=7}")
    simulator.alter("canvas", "notes", "widen", "name", type="s200")
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert execute(target, stored) == before
    # A number can be stored in one way only.
    simulator.alter("canvas", "notes", "retype", "name", type="i32")
    assert run(sync(replicator, TABLE)).state == "needs_init"
    run(init(replicator, TABLE))
    assert_equal(simulator, database, TABLE)
