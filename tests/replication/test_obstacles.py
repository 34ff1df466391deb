"""What users put on a table may keep rows from it: then the table fails with a sentence, and is never half right."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import admin, statement_in
from tests.replication.replica import assert_equal, execute, fetch, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

Load = Callable[..., Coroutine[Any, Any, Any]]
GROUPS = "canvas.groups"
NOPE = """
CREATE FUNCTION public.nope() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nope BEFORE {} ON canvas.groups FOR EACH ROW EXECUTE FUNCTION public.nope()"""
MASK = """
CREATE FUNCTION public.mask() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := ''somebody''; RETURN NEW; END';
CREATE TRIGGER mask BEFORE INSERT OR UPDATE ON canvas.groups FOR EACH ROW EXECUTE FUNCTION public.mask()"""


def state(target: DatabaseTarget) -> list[object]:
    """The rows and the cursor."""
    rows = fetch(target, f"SELECT g::text, xmin::text FROM {GROUPS} g ORDER BY id")
    return [rows, execute(target, "SELECT timestamp::text FROM instructure_dap.table_sync")]


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
def test_a_sync_fails_if_a_trigger_keeps_rows_from_being_changed(
    event: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, GROUPS))
    simulator.advance(tables=[GROUPS], inserts=3, updates=4, deletes=2)
    before = state(target)
    admin(database, NOPE.format(event))
    with pytest.raises(TableFailure) as caught:
        run(sync(replicator, GROUPS))
    assert "although PostgreSQL reported no error. Nothing was changed." in caught.value.message
    assert "BEFORE each row can do that, and the table has nope" in caught.value.message
    assert state(target) == before

    admin(database, "ALTER TABLE canvas.groups DISABLE TRIGGER nope")
    assert run(sync(replicator, GROUPS)).state == "complete"
    assert_equal(simulator, database, GROUPS)


def test_a_reinit_fails_if_a_trigger_keeps_as_many_rows_as_it_refuses(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The number of rows is right then."""
    run(init(replicator, GROUPS))
    simulator.advance(tables=[GROUPS], inserts=2, deletes=2)
    before = state(target)
    admin(database, NOPE.format("INSERT OR DELETE"))
    with pytest.raises(TableFailure, match=r"2 row\(s\) were not written and 2 not deleted, although"):
        run(init(replicator, GROUPS))
    assert state(target) == before


def test_a_trigger_that_only_changes_rows_is_in_nobody_s_way(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, GROUPS))
    cursor = execute(target, "SELECT timestamp::text FROM instructure_dap.table_sync")
    admin(database, MASK)
    rows = simulator.advance(tables=[GROUPS], inserts=3, updates=4, deletes=2)
    assert rows[GROUPS]["deletes"] == 2
    first = run(sync(replicator, GROUPS))
    assert (first.state, first.rows_deleted) == ("complete", 2)
    # Once more: the deleted rows are gone, and the masked rows differ from what comes.
    execute(target, f"UPDATE instructure_dap.table_sync SET timestamp = '{cursor}'")
    again = run(sync(replicator, GROUPS))
    assert (again.state, again.rows_upserted, again.rows_deleted) == ("complete", first.rows_upserted, 0)
    assert run(init(replicator, GROUPS)).state == "initialized"
    assert int(execute(target, f"SELECT count(*) FROM {GROUPS}")) == simulator.tables()[GROUPS]["rows"]


@pytest.mark.parametrize("load", [sync, init])
def test_a_rule_on_the_table_is_named(
    load: Load, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, GROUPS))
    simulator.advance(tables=[GROUPS], updates=4)
    admin(database, "CREATE RULE keep AS ON DELETE TO canvas.groups DO INSTEAD NOTHING")
    with pytest.raises(
        TableFailure, match=r"cannot MERGE into a table with rules, and it has keep\. Nothing was"
    ) as told:
        run(load(replicator, GROUPS))
    admin(database, statement_in(told.value, "DROP RULE"))
    run(sync(replicator, GROUPS))
    assert_equal(simulator, database, GROUPS)


WRONG = {
    "an identity": (
        "ALTER TABLE canvas.groups ALTER id ADD GENERATED ALWAYS AS IDENTITY",
        'is GENERATED ALWAYS, because a user made it so.*non-DEFAULT value into column "id"',
        "ALTER TABLE canvas.groups ALTER id DROP IDENTITY",
    ),
    "a generated column": (
        "ALTER TABLE canvas.groups DROP name; ALTER TABLE canvas.groups ADD name text GENERATED ALWAYS AS ('x') STORED",
        'is GENERATED ALWAYS, because a user made it so.*column "name" can only be updated to DEFAULT',
        "ALTER TABLE canvas.groups DROP name",
    ),
    "a cast": (
        "CREATE CAST (canvas.groups__workflow_state AS text) WITH INOUT AS IMPLICIT",
        "A cast or an operator that a user created makes a comparison ambiguous.*canvas.groups__workflow_state",
        "DROP CAST (canvas.groups__workflow_state AS text)",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_refuses_the_values_of_canvas_is_named_with_its_remedy(
    what: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """The sentence was only that PostgreSQL rejected a statement."""
    made, told, remedy = WRONG[what]
    run(init(replicator, GROUPS))
    simulator.advance(tables=[GROUPS], inserts=3, updates=4)
    admin(database, made)
    with pytest.raises(TableFailure, match=told):
        run(sync(replicator, GROUPS))
    admin(database, remedy)
    if run(sync(replicator, GROUPS)).state == "needs_init":
        run(init(replicator, GROUPS))
    assert_equal(simulator, database, GROUPS)


REDIRECT = f"""
CREATE TABLE public.part () INHERITS ({GROUPS});
CREATE FUNCTION public.redirect() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.part SELECT NEW.*; RETURN NULL; END';
CREATE TRIGGER redirect BEFORE INSERT ON {GROUPS} FOR EACH ROW EXECUTE FUNCTION public.redirect()"""


@pytest.mark.parametrize("how", ["sync", "init", "verify", "repair"])
def test_a_trigger_that_redirects_rows_to_a_table_that_inherits_is_named(
    how: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """Partitioning as it was done before PostgreSQL 10."""
    run(init(replicator, GROUPS))
    admin(database, REDIRECT)
    if how in ("verify", "repair"):
        execute(target, f"DELETE FROM ONLY {GROUPS} WHERE id IN (SELECT id FROM ONLY {GROUPS} LIMIT 2)")
    else:
        simulator.advance(tables=[GROUPS], inserts=3, updates=4, deletes=2)
    before = [state(target), fetch(target, "SELECT * FROM public.part")]
    if how == "verify":
        found = outcome(verify(replicator, GROUPS))
        assert (found.outcome, found.missing) == ("different", 2)
    else:
        with pytest.raises(TableFailure, match=r"A trigger that runs BEFORE each row can do that.*has redirect: drop"):
            {
                "sync": lambda: run(sync(replicator, GROUPS)),
                "init": lambda: run(init(replicator, GROUPS)),
                "repair": lambda: verify(replicator, GROUPS, repair=True),
            }[how]()
    assert [state(target), fetch(target, "SELECT * FROM public.part")] == before
