"""What policies, other owners and event triggers keep from a table fails it with the statement that helps."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.people import admin, statement_in
from tests.replication.replica import assert_equal, execute, make_replicator, run, target_of
from tests.steps import init, sync

Load = Callable[..., Coroutine[Any, Any, Any]]
GROUPS = "canvas.groups"


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
