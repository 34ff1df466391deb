"""Objects of people have the names that ours would get: ours get free ones, or the table fails before DAP is asked."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run, target_of
from tests.steps import init, sync

NAME = "parcels"
TABLE = f"canvas.{NAME}"
STAGING = "cd2.stage_" + hashlib.sha256(f'"canvas"."{NAME}"'.encode()).hexdigest()[:16]
BACKUP = f"ALTER TABLE {TABLE} RENAME TO parcels_backup"

TAKEN = {
    "a backup in the same schema": BACKUP,
    "a backup without its cursor": f"{BACKUP}; DELETE FROM instructure_dap.table_sync",
    "a backup in another schema": f"CREATE SCHEMA backup; ALTER TABLE {TABLE} SET SCHEMA backup",
    "two backups, the second with our free names": BACKUP,
    "an index with the name of the key": f"DROP TABLE {TABLE}; CREATE TABLE canvas.other (id int);"
    "CREATE INDEX pk_parcels ON canvas.other (id)",
    "a table with the name of the key": f"DROP TABLE {TABLE}; CREATE TABLE canvas.pk_parcels (id int)",
    "a sequence with the name of the key": f"DROP TABLE {TABLE}; CREATE SEQUENCE canvas.pk_parcels",
    "an enumeration of people": f"DROP TABLE {TABLE}; DROP TYPE canvas.parcels__state;"
    "CREATE TYPE canvas.parcels__state AS ENUM ('x'); CREATE TABLE canvas.other (s canvas.parcels__state)",
    "a table with the name of the enumeration": f"DROP TABLE {TABLE}; DROP TYPE canvas.parcels__state;"
    "CREATE TABLE canvas.parcels__state (id int)",
    "a domain with the name of the enumeration": f"DROP TABLE {TABLE}; DROP TYPE canvas.parcels__state;"
    "CREATE DOMAIN canvas.parcels__state AS text",
    "a table with the name of the staging table": f"CREATE TABLE {STAGING} (id int)",
    "an index with the name of the staging table's index": "CREATE INDEX "
    f"{STAGING.removeprefix('cd2.')}_key ON cd2.pacer (key)",
    "a domain with the name of the staging table": f"CREATE DOMAIN {STAGING} AS text",
    "a type with the name that a narrowed enumeration has for a moment": 'CREATE TYPE canvas."parcels__state~" AS ()',
}
OBJECTS = """
SELECT relname::text, relkind::text, (SELECT string_agg(format_type(atttypid, atttypmod), ',') FROM pg_attribute
                                      WHERE attrelid = c.oid AND attnum > 0) FROM pg_class c
WHERE relnamespace IN ('canvas'::regnamespace, 'cd2'::regnamespace) AND NOT relname ~ '^parcels$' ORDER BY 1"""
KEY = f"SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = '{TABLE}'::regclass"


@pytest.fixture
def parcels(simulator: SimulatorControl, replicator: Replicator) -> str:
    """A table that is initialized."""
    simulator.add_table("canvas", NAME, "state:enum(a|b|c) tags:enum(x|y)[]? note:text?", rows=12)
    run(init(replicator, TABLE))
    return TABLE


@pytest.fixture
def reader(
    postgres: EmbeddedPostgres, simulator: SimulatorControl, database: str
) -> Iterator[Callable[[str], Replicator]]:
    """Makes a replicator whose role has just these rights."""
    name = f"reader_{secrets.token_hex(4)}"
    postgres.create_role(name, name)

    def make(grants: str) -> Replicator:
        admin(database, grants.format(name))
        return make_replicator(simulator, target_of(database, user=name, password=name))

    yield make
    admin(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def follow(replicator: Replicator) -> str:
    result = run(sync(replicator, TABLE))
    return (run(init(replicator, TABLE)) if result.state == "needs_init" else result).state


@pytest.mark.parametrize("what", TAKEN)
@pytest.mark.usefixtures("parcels")
def test_a_name_that_is_taken_costs_no_init_and_no_object(
    what: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(database, TAKEN[what])
    if what.startswith("two backups"):
        assert follow(replicator) == "initialized"
        admin(database, f"{BACKUP}_2")
    before = [tuple(row) for row in fetch(target, OBJECTS)]
    simulator.advance(tables=[TABLE], inserts=3, updates=3, deletes=2)
    simulator.reset_stats()
    assert follow(replicator) in ("initialized", "complete")
    simulator.alter("canvas", NAME, "drop_enum_value", "state", value="b")
    assert follow(replicator) == "complete_with_schema_update"
    assert run(init(replicator, TABLE)).action == "reinit"
    jobs = simulator.stats()["jobs"][TABLE]
    assert jobs <= 4, "a snapshot was spent on a failure"
    # Every object of people is as it was; a value is dropped from our enumeration only.
    after = [tuple(row) for row in fetch(target, OBJECTS)]
    assert [row for row in before if row not in after] == []
    assert_equal(simulator, database, TABLE)


@pytest.mark.usefixtures("parcels")
def test_free_names_are_kept_and_the_usual_ones_come_back_with_the_next_table(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(database, BACKUP)
    assert follow(replicator) == "initialized"
    types = "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = '{}'::regclass AND attname = 'state'"
    ours, theirs = (execute(target, types.format(table)) for table in (TABLE, "canvas.parcels_backup"))
    assert (theirs, ours.startswith("canvas.parcels__state_")) == ("canvas.parcels__state", True)
    key = execute(target, KEY)
    assert key.startswith("pk_parcels_")
    admin(database, "DROP TABLE canvas.parcels_backup")
    simulator.advance(tables=[TABLE], updates=3)
    simulator.alter("canvas", NAME, "add_enum_value", "state", value="d")
    assert follow(replicator) == "complete_with_schema_update"
    assert (execute(target, types.format(TABLE)), execute(target, KEY)) == (ours, key)
    assert execute(target, f"SELECT enum_range(NULL::{ours})::text") == "{a,b,c,__dap_unspecified__,d}"
    admin(database, f"DROP TABLE {TABLE}")
    assert follow(replicator) == "initialized"
    assert (execute(target, types.format(TABLE)), execute(target, KEY)) == (theirs, "pk_parcels")


@pytest.mark.usefixtures("parcels")
def test_a_key_that_is_replaced_gets_a_free_name(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """Its name is taken by a constraint of the same table, which an index need not have."""
    admin(
        database,
        f"ALTER TABLE {TABLE} DROP CONSTRAINT pk_parcels; ALTER TABLE {TABLE} ADD CONSTRAINT pk_parcels CHECK (id > 0)",
    )
    assert follow(replicator) == "initialized"
    assert execute(target, KEY).startswith("pk_parcels_")
    assert_equal(simulator, database, TABLE)


IN_ITS_PLACE: dict[str, tuple[str, str]] = {
    "a view": ("CREATE VIEW canvas.crates AS SELECT 1 AS id", "a view has the name of the replicated table: rename it"),
    "a materialized view": ("CREATE MATERIALIZED VIEW canvas.crates AS SELECT 1 AS id", "a materialized view has the"),
    "a partitioned table": (
        "CREATE TABLE canvas.crates (id int) PARTITION BY LIST (id)",
        "a partitioned table has the",
    ),
    "a sequence": ("CREATE SEQUENCE canvas.crates", "a sequence has the name"),
    "an index": ("CREATE TABLE canvas.t (id int); CREATE INDEX crates ON canvas.t (id)", "an index has the name"),
    "an enumeration": ("CREATE TYPE canvas.crates AS ENUM ('x')", "a type has the name"),
    "a composite type": ("CREATE TYPE canvas.crates AS (id int)", "a type has the name"),
    "a domain": ("CREATE DOMAIN canvas.crates AS text", "a type has the name"),
    "a table of people": (
        "CREATE TABLE canvas.crates (id bigint PRIMARY KEY, ours text); INSERT INTO canvas.crates VALUES (4711, 'x')",
        r"has rows, which would be overwritten: rename it \(ALTER TABLE \"canvas\".\"crates\" RENAME TO \.\.\.\)",
    ),
    "a table of people that calls its key so": (
        "CREATE TABLE canvas.crates (id bigint CONSTRAINT pk_crates PRIMARY KEY, a text);"
        "INSERT INTO canvas.crates VALUES (4711, 'ours')",
        "a user-created table of that name has rows, which would be overwritten",
    ),
    "a rule": (
        "CREATE TABLE canvas.crates (id bigint); CREATE RULE r AS ON DELETE TO canvas.crates DO INSTEAD NOTHING",
        "cannot MERGE into a table with rules",
    ),
}


@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_what_makes_an_init_impossible_is_found_before_dap_is_asked(
    what: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.add_table("canvas", "crates", "a:text?", rows=3)
    statements, told = IN_ITS_PLACE[what]
    admin(database, statements)
    with pytest.raises(TableFailure, match=told):
        run(init(replicator, "canvas.crates"))
    assert simulator.stats()["jobs"].get("canvas.crates", 0) == 0


@pytest.mark.parametrize("rows", [[], [4711]])
def test_a_table_of_people_without_rows_becomes_that_of_canvas(
    rows: list[int], replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """Also after a TRUNCATE, as the sentence says."""
    simulator.add_table("canvas", "crates", "a:text?", rows=3)
    admin(database, "CREATE TABLE canvas.crates (id bigint PRIMARY KEY, a text)")
    for row in rows:
        admin(database, f"INSERT INTO canvas.crates VALUES ({row}); TRUNCATE canvas.crates")
    assert run(init(replicator, "canvas.crates")).state == "initialized"
    assert_equal(simulator, database, "canvas.crates")


def test_a_schema_in_which_we_may_not_create_is_found_before_dap_is_asked(
    simulator: SimulatorControl, database: str, reader: Callable[[str], Replicator]
) -> None:
    with pytest.raises(TableFailure, match=r"may not create tables in the schema canvas: GRANT CREATE, USAGE ON SCHE"):
        run(
            init(
                reader("GRANT USAGE ON SCHEMA canvas, cd2 TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA cd2 TO {0}"), TABLE
            )
        )
    assert simulator.stats()["jobs"] == {}


def test_a_stray_type_of_ours_is_used(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """As the official client leaves them when it is killed."""
    simulator.add_table("canvas", NAME, "state:enum(a|b)", rows=3)
    admin(database, "CREATE TYPE canvas.parcels__state AS ENUM ('a')")
    run(init(replicator, TABLE))
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT typname FROM pg_type WHERE typname LIKE 'parcels\\_\\_state%'").fetchall()
    assert found == [("parcels__state",)]
    assert execute(target, "SELECT enum_range(NULL::canvas.parcels__state)::text") == "{a,b,__dap_unspecified__}"
