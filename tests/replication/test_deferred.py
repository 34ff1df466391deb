"""Deferred triggers and foreign keys of people, and what a load does after the rows are there."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import BOXES, admin, equal
from tests.replication.replica import execute, run
from tests.steps import init, sync

DEFERRED = f"""
CREATE TABLE public.seen (id bigint);
CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.seen VALUES (coalesce(NEW.id, OLD.id)); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {BOXES}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.see();
ALTER TABLE {BOXES} ADD CONSTRAINT mine FOREIGN KEY (id) REFERENCES {BOXES} DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE public.notes (box bigint REFERENCES {BOXES} ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)"""
CLOSING = {
    "a column becomes required": ("not_null", "note", {}),
    "an enumeration loses a value": ("drop_enum_value", "state", {"value": "b"}),
    "a type changes": ("retype", "note", {"type": "json"}),
    "a column goes": ("drop_column", "note", {}),
}


@pytest.mark.parametrize("what", CLOSING)
def test_deferred_triggers_and_foreign_keys_do_not_stop_a_schema_change(
    what: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """PostgreSQL alters no table with pending events of triggers (55006)."""
    simulator.add_table("canvas", "boxes", "state:enum(a|b|c) note:text?", rows=12)
    run(init(replicator, BOXES))
    admin(database, DEFERRED)
    simulator.advance(tables=[BOXES], updates=3, deletes=2, inserts=2)
    kind, column, arguments = CLOSING[what]
    simulator.alter("canvas", "boxes", kind, column, **arguments)
    result = run(sync(replicator, BOXES))
    if result.state == "needs_init":
        result = run(init(replicator, BOXES))
    assert result.state in ("complete_with_schema_update", "initialized")
    assert int(execute(target, "SELECT count(DISTINCT id) FROM public.seen")) >= 4
    assert equal(simulator, database)
    # Another key: all rows are replaced.
    admin(
        database, f"ALTER TABLE public.notes DROP CONSTRAINT notes_box_fkey; ALTER TABLE {BOXES} DROP CONSTRAINT mine"
    )
    admin(database, f"ALTER TABLE {BOXES} DROP CONSTRAINT pk_boxes")
    assert run(init(replicator, BOXES)).state == "initialized"
    assert equal(simulator, database)
