"""Triggers of users that change the table which they are on: no load says `complete` about rows that are not there."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import BOXES, admin, equal
from tests.replication.replica import execute, fetch, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

AWAY = f"""
CREATE TABLE public.archive (LIKE {BOXES});
CREATE FUNCTION public.away() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.archive SELECT NEW.*; DELETE FROM {BOXES} WHERE id = NEW.id; RETURN NULL; END';
CREATE TRIGGER away AFTER INSERT ON {BOXES} FOR EACH ROW EXECUTE FUNCTION public.away()"""
MARK = f"""
ALTER TABLE {BOXES} ADD seen integer;
CREATE FUNCTION public.mark() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF pg_trigger_depth() = 1 THEN UPDATE {BOXES} SET seen = coalesce(seen, 0) + 1; END IF; RETURN NEW; END';
CREATE TRIGGER mark {{}} UPDATE ON {BOXES} FOR EACH ROW EXECUTE FUNCTION public.mark()"""
EVERY = """
CREATE TABLE public.audit (name text, content jsonb);
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.audit VALUES (TG_TABLE_NAME, to_jsonb(NEW)); RETURN NULL; END';
CREATE FUNCTION public.every() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE made record;
BEGIN
    FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP
        EXECUTE format('ALTER TABLE %s ADD created_at timestamptz DEFAULT now()', made.object_identity);
        EXECUTE format('CREATE TRIGGER audited AFTER INSERT OR UPDATE ON %s FOR EACH ROW '
                       'EXECUTE FUNCTION public.note()', made.object_identity);
    END LOOP;
END$$;
CREATE EVENT TRIGGER every ON ddl_command_end EXECUTE FUNCTION public.every()"""


def add_boxes(simulator: SimulatorControl) -> None:
    simulator.add_table("canvas", "boxes", "note:s40? n:i32? kind:enum(a|b)? doc:json?", 40)


@pytest.mark.parametrize("how", ["sync", "init", "repair"])
def test_a_trigger_that_moves_rows_away_after_they_are_written_is_named(
    how: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """A sync and a repair called that complete, a re-init a bug of ours."""
    add_boxes(simulator)
    run(init(replicator, BOXES))
    admin(database, AWAY)
    if how == "repair":
        execute(target, f"DELETE FROM {BOXES} WHERE id IN (SELECT id FROM {BOXES} LIMIT 3)")
    else:
        simulator.advance(tables=[BOXES], inserts=3, updates=4, deletes=2)
    before = fetch(target, f"SELECT b::text FROM {BOXES} b ORDER BY id")

    def load() -> None:
        if how == "repair":
            verify(replicator, BOXES, repair=True)
        else:
            run(sync(replicator, BOXES) if how == "sync" else init(replicator, BOXES))

    with pytest.raises(TableFailure) as caught:
        load()
    if how == "repair":
        assert "3 row(s) still differ after the repair: a user's trigger changes them" in caught.value.message
    else:
        assert "3 row(s) were not written and 0 not deleted" in caught.value.message
        assert (
            "A trigger that changes rows of its own table can do that, and the table has away" in caught.value.message
        )
    assert fetch(target, f"SELECT b::text FROM {BOXES} b ORDER BY id") == before
    assert execute(target, "SELECT count(*) FROM public.archive") == "0"
    admin(database, f"DROP TRIGGER away ON {BOXES}")
    load()
    assert equal(simulator, database)


def test_a_trigger_that_changes_the_rows_of_a_load_before_it_does_is_named(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """The sentence was "PostgreSQL rejected a statement"."""
    add_boxes(simulator)
    run(init(replicator, BOXES))
    simulator.advance(tables=[BOXES], inserts=3, updates=4, deletes=2)
    admin(database, MARK.format("BEFORE"))
    with pytest.raises(TableFailure, match=r"A BEFORE trigger of a user changes rows of the same table.*trigger mark"):
        run(sync(replicator, BOXES))
    # As the sentence says.
    admin(database, f"DROP TRIGGER mark ON {BOXES}; DROP FUNCTION public.mark; ALTER TABLE {BOXES} DROP seen")
    admin(database, MARK.format("AFTER"))
    result = run(sync(replicator, BOXES))
    assert (result.state, result.rows_upserted, result.rows_deleted) == ("complete", 7, 2)
    assert equal(simulator, database)
    assert run(init(replicator, BOXES)).rows_upserted == 0


def test_columns_and_triggers_that_an_event_trigger_gives_each_new_table_do_no_harm(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The table, and the staging table of each load."""
    admin(database, EVERY)
    add_boxes(simulator)
    run(init(replicator, BOXES))
    simulator.advance(tables=[BOXES], inserts=3, updates=4, deletes=2)
    assert run(sync(replicator, BOXES)).rows_upserted == 7
    assert equal(simulator, database)
    assert execute(target, "SELECT count(*) FROM public.audit WHERE name = 'boxes'") == "47"
    assert outcome(verify(replicator, BOXES)).outcome == "equal"
