"""Tables that users let inherit from a replicated one: their rows are theirs, whatever a load does with ours."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from local.simulator.control import SimulatorControl
from tests.replication.people import BOXES, admin
from tests.replication.replica import assert_equal, execute, fetch, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

# Half of its rows have keys of Canvas, half have others.
CHILD = f"""
CREATE TABLE public.old_boxes () INHERITS ({BOXES});
INSERT INTO public.old_boxes (id, note) SELECT id, 'old' FROM ONLY {BOXES};
INSERT INTO public.old_boxes (id, note) SELECT -id, 'older' FROM ONLY {BOXES}"""


def test_rows_of_a_table_that_inherits_from_ours_are_neither_changed_nor_counted(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "boxes", "note:s40? n:i32?", 40)
    run(init(replicator, BOXES))
    admin(database, CHILD)
    theirs = fetch(target, "SELECT id, note FROM public.old_boxes ORDER BY id")
    assert len(theirs) == 80

    def right() -> bool:
        """As many rows as Canvas has, and no other difference to it."""
        known, there = fetch(target, f"SELECT rows_in_table, (SELECT count(*) FROM ONLY {BOXES}) FROM cd2.status")[0]
        kept = fetch(target, "SELECT id, note FROM public.old_boxes ORDER BY id") == theirs
        return kept and known == there == simulator.tables()[BOXES]["rows"]

    simulator.advance(tables=[BOXES], inserts=3, updates=20, deletes=5)
    result = run(sync(replicator, BOXES))
    assert (result.rows_upserted, result.rows_deleted) == (23, 5)
    assert right()
    simulator.advance(tables=[BOXES], inserts=3, updates=20, deletes=5)
    assert run(init(replicator, BOXES)).rows_deleted == 5
    assert right()

    assert outcome(verify(replicator, BOXES)).outcome == "equal"
    execute(target, f"DELETE FROM ONLY {BOXES} WHERE id IN (SELECT id FROM ONLY {BOXES} LIMIT 2)")
    admin(database, f"INSERT INTO {BOXES} (id, note) VALUES (-1, 'not of Canvas')")
    found = outcome(verify(replicator, BOXES, repair=True))
    assert (found.outcome, found.missing, found.extra, found.different) == ("repaired", 2, 1, 0)
    assert right()

    simulator.alter("canvas", "boxes", "widen", "note", type="s200")
    assert run(sync(replicator, BOXES)).state == "complete_with_schema_update"
    assert right()
    assert outcome(verify(replicator, BOXES)).outcome == "equal"


def follow(replicator: Replicator) -> TableResult:
    """What a run of the DAG does: sync, and init if that is needed."""
    result = run(sync(replicator, BOXES))
    return run(init(replicator, BOXES)) if result.state == "needs_init" else result


def columns_of(target: DatabaseTarget, table: str) -> dict[str, str]:
    return dict(
        fetch(
            target,
            "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END "
            f"FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped",
        )
    )


@pytest.fixture
def child(replicator: Replicator, simulator: SimulatorControl, database: str) -> str:
    """A table with rows of people that inherits from one of Canvas."""
    simulator.add_table("canvas", "boxes", "note:s40? n:i32? kind:enum(a|b)?", 40)
    run(init(replicator, BOXES))
    admin(database, CHILD)
    return "public.old_boxes"


@pytest.mark.parametrize("new", [False, True])
def test_a_column_that_is_required_now_does_not_fail_for_rows_of_a_table_that_inherits(
    new: bool, child: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The sentence was "report this table to Instructure"."""
    if new:
        simulator.alter("canvas", "boxes", "add_column", "m", type="i32", nullable=False)
    else:
        simulator.alter("canvas", "boxes", "not_null", "n")
    column = "m" if new else "n"
    result = follow(replicator)
    (note,) = result.notes
    assert note.startswith(
        f"{BOXES}: {column} must now have a value in every row, and all rows of Canvas have one, but"
    )
    assert f"(ALTER TABLE {child} NO INHERIT {BOXES})" in note
    assert columns_of(target, BOXES)[column] == "integer"
    assert outcome(verify(replicator, BOXES)).outcome == "equal"
    assert int(execute(target, f"SELECT count(*) FROM {child} WHERE {column} IS NULL")) == 80
    # As soon as its rows have values, the column is required, even if there is nothing to load.
    admin(database, f"UPDATE {child} SET {column} = 0")
    assert run(sync(replicator, BOXES)).notes == ()
    assert columns_of(target, BOXES)[column] == columns_of(target, child)[column] == "integer NOT NULL"


def test_a_column_that_canvas_drops_keeps_its_values_in_a_table_that_inherits(
    child: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(
        database,
        f"CREATE INDEX theirs ON {child} (note); CREATE VIEW public.old_notes AS SELECT note FROM {child};"
        f"UPDATE {child} SET kind = 'a'",
    )
    simulator.alter("canvas", "boxes", "drop_column", "note")
    simulator.alter("canvas", "boxes", "drop_column", "kind")
    result = follow(replicator)
    assert result.state == "complete_with_schema_update"
    assert not result.dependents.broken
    assert set(columns_of(target, BOXES)) == {"id", "n"}
    assert fetch(target, f"SELECT DISTINCT note IS NULL, kind::text FROM {child}") == [(False, "a")]
    assert execute(target, "SELECT count(*) FROM public.old_notes") == "80"
    assert execute(target, "SELECT to_regclass('public.theirs')") == "theirs"
    assert outcome(verify(replicator, BOXES)).outcome == "equal"
    # It comes back, and is the one of the table that inherits again.
    simulator.alter("canvas", "boxes", "add_column", "note", type="s40")
    assert follow(replicator).state == "complete_with_schema_update"
    assert outcome(verify(replicator, BOXES)).outcome == "equal"


def test_a_type_that_changes_changes_in_a_table_that_inherits_or_it_is_named(
    child: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(database, f"CREATE VIEW public.old_numbers AS SELECT n FROM {child}; UPDATE {child} SET n = 7")
    simulator.alter("canvas", "boxes", "retype", "n", type="text")
    assert follow(replicator).dependents.restored == ("public.old_numbers",)
    assert columns_of(target, child)["n"] == "text"
    before = fetch(target, f"SELECT b::text FROM ONLY {BOXES} b ORDER BY id")
    simulator.alter("canvas", "boxes", "retype", "note", type="i32")
    with pytest.raises(TableFailure, match="rows of a table that a user let inherit from it do not fit") as caught:
        follow(replicator)
    assert f"(ALTER TABLE {child} NO INHERIT {BOXES})" in caught.value.message
    assert fetch(target, f"SELECT b::text FROM ONLY {BOXES} b ORDER BY id") == before
    admin(database, f"ALTER TABLE {child} NO INHERIT {BOXES}")
    run(init(replicator, BOXES))
    assert outcome(verify(replicator, BOXES)).outcome == "equal"


def test_a_new_column_that_a_table_that_inherits_has_already_is_merged_or_named(
    child: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(database, f"ALTER TABLE {child} ADD m integer DEFAULT 5, ADD o date DEFAULT '2020-01-01'")
    simulator.alter("canvas", "boxes", "add_column", "m", type="i32")
    assert follow(replicator).state == "complete_with_schema_update"
    assert execute(target, f"SELECT DISTINCT m FROM {child}") == "5"
    simulator.alter("canvas", "boxes", "add_column", "o", type="text")
    with pytest.raises(TableFailure, match="objects that only you can drop block the change") as caught:
        follow(replicator)
    remedy = f"ALTER TABLE {child} NO INHERIT {BOXES}"
    assert f"column o of {child}, which inherits from the table ({remedy})" in caught.value.message
    admin(database, remedy)
    assert follow(replicator).state == "complete_with_schema_update"
    assert outcome(verify(replicator, BOXES)).outcome == "equal"


def test_a_column_that_a_table_inherits_twice_is_named(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.add_table("canvas", "boxes", "note:s40? n:i32?", 40)
    run(init(replicator, BOXES))
    admin(
        database,
        f"CREATE TABLE public.others (note varchar(40)); CREATE TABLE public.twice () INHERITS ({BOXES}, others)",
    )
    simulator.alter("canvas", "boxes", "widen", "note", type="s200")
    with pytest.raises(TableFailure, match=r"column note of public\.twice, which inherits from the table") as caught:
        follow(replicator)
    remedy = f"ALTER TABLE public.twice NO INHERIT {BOXES}"
    assert f"({remedy})" in caught.value.message
    admin(database, remedy)
    assert follow(replicator).state == "complete_with_schema_update"


def test_a_value_that_goes_and_a_key_that_changes_leave_a_table_that_inherits_as_it_is(
    child: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(database, f"UPDATE {child} SET kind = 'b'")
    theirs = fetch(target, f"SELECT * FROM {child} ORDER BY id")
    simulator.alter("canvas", "boxes", "drop_enum_value", "kind", value="b")
    (note,) = follow(replicator).notes
    assert "rows still hold it: the value stays" in note
    assert fetch(target, f"SELECT * FROM {child} ORDER BY id") == theirs
    # A table of the same name with another key, whose other column theirs lacks.
    simulator.remove_table("canvas", "boxes")
    simulator.add_table("canvas", "boxes", "*id:i64 *page:i64 note:s40? n:i32? kind:enum(a|b)?", 50)
    with pytest.raises(TableFailure, match="rows of a table that a user let inherit from it do not fit") as caught:
        follow(replicator)
    assert f"(ALTER TABLE {child} NO INHERIT {BOXES})" in caught.value.message
    admin(database, f"UPDATE {child} SET page = 0")
    assert run(init(replicator, BOXES)).state == "initialized"
    assert columns_of(target, BOXES)["page"] == "bigint NOT NULL"
    assert fetch(target, f"SELECT id, note, n, kind FROM {child} ORDER BY id") == theirs
    assert outcome(verify(replicator, BOXES)).outcome == "equal"


def test_of_a_partition_only_its_detachment_is_asked_for(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """To drop a column of the partitioned table would drop ours, and a function has nothing to do with a new column."""
    simulator.add_table("canvas", "boxes", "note:s40? kind:enum(a|b)?", 40)
    run(init(replicator, BOXES))
    admin(
        database,
        f"CREATE TABLE public.every (LIKE {BOXES}) PARTITION BY LIST (id);"
        f"ALTER TABLE public.every ATTACH PARTITION {BOXES} DEFAULT;"
        "CREATE TABLE public.other PARTITION OF public.every FOR VALUES IN (-1);"
        "CREATE FUNCTION public.name_of(canvas.boxes__kind) RETURNS text LANGUAGE sql AS 'SELECT $1::text'",
    )
    for change, column, new in (("add_column", "n", "i32"), ("retype", "kind", "text")):
        simulator.alter("canvas", "boxes", change, column, type=new)
        with pytest.raises(TableFailure, match="objects that only you can drop block the change") as caught:
            follow(replicator)
        remedy = f"ALTER TABLE public.every DETACH PARTITION {BOXES}"
        assert f"the table as a partition of public.every ({remedy})" in caught.value.message
        assert "DROP COLUMN" not in caught.value.message
        if change == "add_column":
            assert "DROP" not in caught.value.message
        admin(database, remedy)
        assert follow(replicator).state == "complete_with_schema_update"
        assert_equal(simulator, database, BOXES)
        admin(database, f"DROP TABLE public.every; CREATE TABLE public.every (LIKE {BOXES}) PARTITION BY LIST (id)")
        admin(database, f"ALTER TABLE public.every ATTACH PARTITION {BOXES} DEFAULT")


def test_a_table_that_people_gave_a_type_is_told_how_to_leave_it(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.add_table("canvas", "boxes", "note:s40?", 40)
    run(init(replicator, BOXES))
    admin(database, f"CREATE TYPE public.box AS (id bigint, note varchar(40)); ALTER TABLE {BOXES} OF public.box")
    simulator.alter("canvas", "boxes", "add_column", "n", type="i32")
    with pytest.raises(TableFailure, match=r"that it is of the type (public\.)?box \(ALTER TABLE") as caught:
        follow(replicator)
    admin(database, f"ALTER TABLE {BOXES} NOT OF")
    assert f"(ALTER TABLE {BOXES} NOT OF)" in caught.value.message
    assert follow(replicator).state == "complete_with_schema_update"
    assert_equal(simulator, database, BOXES)
