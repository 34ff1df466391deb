"""What users put on a table may keep rows from it: then the table fails with a sentence, and is never half right."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run, target_of
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


def statement_in(failure: TableFailure, beginning: str) -> str:
    """The statement that a sentence has in parentheses."""
    found = re.search(rf"\(({re.escape(beginning)}[^()]*)\)", failure.message)
    assert found, failure.message
    return found[1]


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


@pytest.fixture
def owner(postgres: EmbeddedPostgres, empty_database: str, empty_target: DatabaseTarget) -> str:
    """A role that may fill an empty database, and is no superuser; its password is its name."""
    name = f"owner_{secrets.token_hex(4)}"
    postgres.create_role(name, name)
    admin(empty_database, f'GRANT CREATE ON DATABASE "{empty_target.dbname}" TO {name}')
    return name


@pytest.mark.parametrize("remedy", ["ALTER ROLE", "ALTER TABLE"])
@pytest.mark.parametrize("load", [sync, init])
def test_policies_that_apply_to_us_fail_the_table_instead_of_hiding_rows(
    load: Load, remedy: str, owner: str, simulator: SimulatorControl, empty_database: str
) -> None:
    replicator = make_replicator(simulator, target_of(empty_database, user=owner, password=owner))
    run(replicator.prepare(["canvas"]))
    run(init(replicator, GROUPS))
    admin(empty_database, "ALTER TABLE canvas.groups ENABLE ROW LEVEL SECURITY")
    admin(empty_database, "CREATE POLICY hidden ON canvas.groups USING (id < 0)")
    simulator.advance(tables=[GROUPS], updates=4, deletes=2)
    # Policies do not apply to the owner of the table ...
    assert run(sync(replicator, GROUPS)).rows_deleted == 2
    assert_equal(simulator, empty_database, GROUPS)
    # ... unless they are forced.
    admin(empty_database, "ALTER TABLE canvas.groups FORCE ROW LEVEL SECURITY")
    simulator.advance(tables=[GROUPS], updates=4, deletes=2)
    with pytest.raises(
        TableFailure, match=r"its policies \(row level security\) apply to the replication role"
    ) as told:
        run(load(replicator, GROUPS))
    assert f"ALTER ROLE {owner} BYPASSRLS" in told.value.message
    assert "NO FORCE ROW LEVEL SECURITY" in told.value.message
    admin(empty_database, statement_in(told.value, remedy))
    assert run(sync(replicator, GROUPS)).rows_deleted == 2
    assert_equal(simulator, empty_database, GROUPS)


def test_policies_of_a_table_that_somebody_else_owns_are_not_blamed_on_force(
    owner: str, simulator: SimulatorControl, empty_database: str
) -> None:
    replicator = make_replicator(simulator, target_of(empty_database, user=owner, password=owner))
    run(replicator.prepare(["canvas"]))
    run(init(replicator, GROUPS))
    admin(empty_database, f"GRANT ALL ON {GROUPS} TO {owner}")
    admin(empty_database, f"ALTER TABLE {GROUPS} OWNER TO CURRENT_USER")
    admin(empty_database, f"ALTER TABLE {GROUPS} ENABLE ROW LEVEL SECURITY")
    simulator.advance(tables=[GROUPS], updates=4, deletes=2)
    with pytest.raises(
        TableFailure, match=r"its policies \(row level security\) apply to the replication role"
    ) as told:
        run(sync(replicator, GROUPS))
    assert "FORCE" not in told.value.message
    admin(empty_database, statement_in(told.value, "ALTER TABLE"))
    assert run(sync(replicator, GROUPS)).rows_deleted == 2
    assert_equal(simulator, empty_database, GROUPS)


OWNED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "the table": ({"type": "i32"}, ("add_column", "more"), "ALTER TABLE canvas.groups OWNER TO {}"),
    "its type": (
        {"value": "new"},
        ("add_enum_value", "workflow_state"),
        "ALTER TYPE canvas.groups__workflow_state OWNER TO {}",
    ),
}


@pytest.mark.parametrize("what", OWNED)
def test_what_belongs_to_another_role_is_named_with_the_statement_that_helps(
    what: str, owner: str, simulator: SimulatorControl, empty_database: str, postgres: EmbeddedPostgres
) -> None:
    """No GRANT lets a role change the table of another; the sentence said that one would."""
    replicator = make_replicator(simulator, target_of(empty_database, user=owner, password=owner))
    run(replicator.prepare(["canvas"]))
    run(init(replicator, GROUPS))
    arguments, change, remedy = OWNED[what]
    admin(empty_database, remedy.format("postgres") + f"; GRANT ALL ON {GROUPS} TO {owner}")
    simulator.advance(tables=[GROUPS], updates=4, deletes=2)
    assert run(sync(replicator, GROUPS)).rows_deleted == 2
    simulator.alter("canvas", "groups", *change, **arguments)
    for load in (sync, init):
        with pytest.raises(TableFailure, match=r"Other roles own (table|type) canvas.*, and only an") as caught:
            run(load(replicator, GROUPS))
        assert remedy.format(owner) in caught.value.message
    admin(empty_database, remedy.format(owner))
    assert run(sync(replicator, GROUPS)).state == "complete_with_schema_update"
    assert_equal(simulator, empty_database, GROUPS)


ON_NEW_TABLES = """
CREATE FUNCTION public.nope() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION public.hang() RETURNS event_trigger LANGUAGE plpgsql AS $f$ DECLARE made record; BEGIN
    FOR made IN SELECT object_identity AS name FROM pg_event_trigger_ddl_commands()
                WHERE command_tag = 'CREATE TABLE' AND schema_name = 'canvas' LOOP
        EXECUTE format('{}', made.name);
    END LOOP; END $f$;
CREATE EVENT TRIGGER hang ON ddl_command_end EXECUTE FUNCTION public.hang()"""


@pytest.mark.parametrize("columns", ["name:text?", "names:text[]?"])
def test_a_new_table_fails_if_an_event_trigger_hangs_on_it_what_swallows_rows(
    columns: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "hooked", columns, rows=12)
    nope = "CREATE TRIGGER nope BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.nope()"
    admin(database, ON_NEW_TABLES.format(nope))
    with pytest.raises(TableFailure, match=r"12 row\(s\) were not written and 0 not deleted.*the table has nope"):
        run(init(replicator, "canvas.hooked"))
    assert execute(target, "SELECT to_regclass('canvas.hooked')") == "None"
    admin(database, "DROP EVENT TRIGGER hang")
    run(init(replicator, "canvas.hooked"))
    assert_equal(simulator, database, "canvas.hooked")


def test_a_new_table_whose_policies_an_event_trigger_forces_says_so(
    owner: str, simulator: SimulatorControl, empty_database: str
) -> None:
    replicator = make_replicator(simulator, target_of(empty_database, user=owner, password=owner))
    run(replicator.prepare(["canvas"]))
    admin(empty_database, ON_NEW_TABLES.format("ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"))
    with pytest.raises(TableFailure, match=r"its policies \(row level security\) apply to the replication role"):
        run(init(replicator, GROUPS))
    admin(empty_database, f"ALTER ROLE {owner} BYPASSRLS")
    run(init(replicator, GROUPS))
    assert_equal(simulator, empty_database, GROUPS)


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
