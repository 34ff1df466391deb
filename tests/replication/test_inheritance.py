"""Tables that users let inherit from a replicated one: their rows are theirs, whatever a load does with ours."""

from __future__ import annotations

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import BOXES, admin
from tests.replication.replica import execute, fetch, run
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
