"""The types of enumerations: what people put on one stays when it is recreated without a value."""

from __future__ import annotations

import secrets

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.people import Load, admin
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run, target_of
from tests.steps import init, sync

TABLE = "canvas.kinds"
TYPE = "canvas.kinds__kind"
# Who may do what, whoever granted it.
ACL = f"""
SELECT concat_ws('; ', obj_description(t.oid, 'pg_type'), pg_get_userbyid(typowner), (
    SELECT string_agg(grantee::regrole || CASE WHEN is_grantable THEN '*' ELSE '' END, ','
                      ORDER BY grantee::regrole::text)
    FROM (SELECT DISTINCT grantee, is_grantable FROM aclexplode(coalesce(typacl, acldefault('T', typowner)))) AS a))
FROM pg_type t WHERE t.oid = '{TYPE}'::regtype"""
LABELS = f"SELECT enum_range(NULL::{TYPE})::text"


@pytest.fixture
def roles(postgres: EmbeddedPostgres) -> tuple[str, str]:
    """Two roles of people."""
    names = (f"ann_{secrets.token_hex(4)}", f"bob_{secrets.token_hex(4)}")
    for name in names:
        postgres.create_role(name, name)
    return names


def lose_a_value(replicator: Replicator, simulator: SimulatorControl) -> tuple[str, ...]:
    simulator.alter("canvas", "kinds", "drop_enum_value", "kind", value="b")
    return run(sync(replicator, TABLE)).notes


def test_a_type_keeps_comment_rights_and_owner_when_its_enumeration_loses_a_value(
    roles: tuple[str, str], replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    ann, bob = roles
    simulator.add_table("canvas", "kinds", "kind:enum(a|b|c)", rows=12)
    run(init(replicator, TABLE))
    admin(
        database,
        f"COMMENT ON TYPE {TYPE} IS 'Ann''s \\ words'; REVOKE USAGE ON TYPE {TYPE} FROM PUBLIC;"
        f"ALTER TYPE {TYPE} OWNER TO {ann}; GRANT USAGE ON TYPE {TYPE} TO {bob} WITH GRANT OPTION;"
        f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO pg_monitor",
    )
    before = execute(target, ACL)
    assert lose_a_value(replicator, simulator) == ()
    assert execute(target, LABELS) == "{a,c,__dap_unspecified__}"
    assert execute(target, ACL) == before
    assert before == f"Ann's \\ words; {ann}; {ann},{bob}*"
    assert_equal(simulator, database, TABLE)


def test_a_type_that_nobody_touched_stays_as_it_is_when_its_enumeration_loses_a_value(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "kinds", "kind:enum(a|b|c)", rows=12)
    run(init(replicator, TABLE))
    assert lose_a_value(replicator, simulator) == ()
    assert execute(target, f"SELECT typacl FROM pg_type WHERE oid = '{TYPE}'::regtype") == "None"


def test_a_column_that_a_failed_load_has_added_goes_with_its_type_if_dap_drops_it_before_the_next(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """It counted as a user's, and stayed for ever."""
    simulator.add_table("canvas", "kinds", "kind:enum(a|b|c)", rows=12)
    run(init(replicator, TABLE))
    admin(database, f"ALTER TABLE {TABLE} ADD ours integer, ADD CONSTRAINT nothing CHECK (id < 0) NOT VALID")
    simulator.alter("canvas", "kinds", "add_column", "fresh", type="enum(x|y)")
    simulator.alter("canvas", "kinds", "add_column", "used", type="text")
    simulator.advance(tables=[TABLE], inserts=3)
    with pytest.raises(TableFailure, match="constraint nothing"):
        run(sync(replicator, TABLE))
    # What has a value is a user's, whoever made the column.
    admin(database, f"ALTER TABLE {TABLE} DROP CONSTRAINT nothing; UPDATE {TABLE} SET used = 'by Ann'")
    simulator.alter("canvas", "kinds", "drop_column", "fresh")
    simulator.alter("canvas", "kinds", "drop_column", "used")
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    found = fetch(
        target,
        f"SELECT attname FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass AND attnum > 0 AND NOT attisdropped",
    )
    assert {row[0] for row in found} == {"id", "kind", "ours", "used"}
    assert execute(target, "SELECT to_regtype('canvas.kinds__fresh')") == "None"


def test_a_value_stays_if_its_type_could_not_be_given_back_to_its_owner(
    roles: tuple[str, str],
    postgres: EmbeddedPostgres,
    simulator: SimulatorControl,
    empty_database: str,
    empty_target: DatabaseTarget,
) -> None:
    ann, owner = roles
    admin(empty_database, f'GRANT CREATE ON DATABASE "{empty_target.dbname}" TO {owner}')
    replicator = make_replicator(simulator, target_of(empty_database, user=owner, password=owner))
    run(replicator.prepare(["canvas"]))
    simulator.add_table("canvas", "kinds", "kind:enum(a|b|c)", rows=12)
    run(init(replicator, TABLE))
    admin(empty_database, f"ALTER TYPE {TYPE} OWNER TO {ann}")
    (note,) = lose_a_value(replicator, simulator)
    assert f"must be owner of type {TYPE}" in note
    assert note.endswith(": the value stays.")
    assert execute(empty_target, LABELS) == "{a,b,c,__dap_unspecified__}"


LEFT_TYPES = {
    "gone": "CREATE TYPE canvas.{0}__gone AS ENUM ('a', '__dap_unspecified__')",
    "of_a_user": "CREATE TYPE canvas.{0}__of_a_user AS ENUM ('a', 'b')",
    "commented": "CREATE TYPE canvas.{0}__commented AS ENUM ('__dap_unspecified__');"
    "COMMENT ON TYPE canvas.{0}__commented IS 'ours'",
    "granted": "CREATE TYPE canvas.{0}__granted AS ENUM ('__dap_unspecified__');"
    "GRANT USAGE ON TYPE canvas.{0}__granted TO pg_monitor",
    "used": "CREATE TYPE canvas.{0}__used AS ENUM ('__dap_unspecified__');"
    "CREATE TABLE public.mine (u canvas.{0}__used[])",
    "called": "CREATE TYPE canvas.{0}__called AS ENUM ('__dap_unspecified__');"
    "CREATE FUNCTION public.f(canvas.{0}__called) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "owned": "CREATE TYPE canvas.{0}__owned AS ENUM ('__dap_unspecified__');"
    "ALTER TYPE canvas.{0}__owned OWNER TO pg_monitor",
}


@pytest.mark.parametrize("load", [sync, init])
def test_enumeration_types_that_an_earlier_version_left_behind_go(
    load: Load,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
) -> None:
    """Only what is certainly ours, and nobody uses."""
    name = "crates"
    simulator.add_table("canvas", name, "state:enum(a|b|c)?", rows=12)
    run(init(replicator, f"canvas.{name}"))
    for statement in LEFT_TYPES.values():
        admin(database, statement.format(name))
    run(load(replicator, f"canvas.{name}"))
    left = f"SELECT typname FROM pg_type WHERE starts_with(typname, '{name}__') ORDER BY 1"
    expected = sorted(["state", *(LEFT_TYPES.keys() - {"gone"})])
    assert [row[0].removeprefix(f"{name}__") for row in fetch(target, left)] == expected
    assert_equal(simulator, database, f"canvas.{name}")
