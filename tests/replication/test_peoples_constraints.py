"""Constraints that users created: a correct change passes, whatever its order; what Canvas's rows violate is named."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import BOXES, Load, admin, by_each_load, equal
from tests.replication.replica import execute, fetch, run
from tests.steps import init, sync

LIDS = "canvas.lids"
DEFERRABILITIES = ("", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED")
PASSING = {
    "a unique constraint": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n)",
    "a deferrable unique constraint": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n) DEFERRABLE",
    "a deferred unique constraint": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n) DEFERRABLE INITIALLY DEFERRED",
    "a unique index": f"CREATE UNIQUE INDEX mine ON {BOXES} (n); COMMENT ON INDEX canvas.mine IS 'mine'",
    "a unique index of an expression": f"CREATE UNIQUE INDEX mine ON {BOXES} (upper(n::text))",
    "a partial unique index": f"CREATE UNIQUE INDEX mine ON {BOXES} (n) WHERE id > 0",
    "a unique index with an included column": f"CREATE UNIQUE INDEX mine ON {BOXES} (n) INCLUDE (note)",
    "an exclusion constraint": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine EXCLUDE USING btree (n WITH =)",
    "a deferrable one": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine EXCLUDE USING btree (n WITH =) DEFERRABLE",
    "a unique constraint that a foreign key needs": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n);"
    f"CREATE TABLE public.refers (n uuid REFERENCES {BOXES} (n)); INSERT INTO public.refers SELECT n FROM {BOXES}",
    "the same, which acts": f"ALTER TABLE {BOXES} ADD CONSTRAINT mine UNIQUE (n);"
    f"ALTER TABLE {BOXES} ADD our uuid REFERENCES {BOXES} (n) ON UPDATE CASCADE; UPDATE {BOXES} SET our = n",
    "a foreign key to itself": f"ALTER TABLE {BOXES} ADD CONSTRAINT key_n UNIQUE (n);"
    f"ALTER TABLE {BOXES} ADD CONSTRAINT mine FOREIGN KEY (n) REFERENCES {BOXES} (n)",
    "all of them": f"CREATE UNIQUE INDEX a ON {BOXES} (n); CREATE UNIQUE INDEX b ON {BOXES} ((n::text));"
    f"ALTER TABLE {BOXES} ADD CONSTRAINT c EXCLUDE USING btree (n WITH =), ADD CONSTRAINT d UNIQUE (n)",
}
DEFINITIONS = """
SELECT string_agg(d, E'\\n' ORDER BY d) FROM (
    SELECT pg_get_indexdef(indexrelid) || coalesce(obj_description(indexrelid), '') AS d FROM pg_index
    WHERE indrelid::regclass::text LIKE 'canvas.%'
    UNION ALL SELECT conrelid::regclass || ' ' || conname || pg_get_constraintdef(oid) || convalidated
    FROM pg_constraint WHERE connamespace <> 'pg_catalog'::regnamespace) AS x"""
NOTED = "SELECT count(*) FROM cd2.broken_dependents"


@pytest.fixture
def boxes(simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget) -> str:
    """Two tables of Canvas with the same keys; the cursor of the first."""
    for name in (BOXES, LIDS):
        simulator.add_table("canvas", name.partition(".")[2], "n:uuid note:text?", rows=12)
        run(init(replicator, name))
    cursor = execute(target, "SELECT timestamp::text FROM instructure_dap.table_sync WHERE source_table = 'boxes'")
    simulator.advance(tables=[BOXES], updates=12)
    assert run(sync(replicator, BOXES)).rows_upserted == 12
    return cursor


def again(target: DatabaseTarget, cursor: str) -> None:
    """Let the next sync bring all rows once more."""
    execute(target, f"UPDATE instructure_dap.table_sync SET timestamp = '{cursor}' WHERE source_table = 'boxes'")


@by_each_load(PASSING)
def test_values_that_change_places_pass_every_constraint(
    what: str,
    load: Load,
    boxes: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
) -> None:
    (one, first), (two, second) = fetch(target, f"SELECT id, n FROM {BOXES} ORDER BY id LIMIT 2")
    moved = f"n = CASE id WHEN {one} THEN '{second}' ELSE '{first}' END::uuid WHERE id IN ({one}, {two})"
    execute(target, f"UPDATE {BOXES} SET {moved}")
    admin(database, PASSING[what])
    before = execute(target, DEFINITIONS)
    again(target, boxes)
    assert run(load(replicator, BOXES)).rows_upserted == 2
    assert execute(target, DEFINITIONS) == before
    assert equal(simulator, database)
    assert execute(target, NOTED) == "0"


ALL = f"DELETE FROM {BOXES} WHERE id > (SELECT min(id) FROM {BOXES});"
VIOLATED: dict[str, tuple[str, str, str]] = {
    "a unique index": (
        f"{ALL} CREATE UNIQUE INDEX mine ON {BOXES} ((1))",
        r"violate index canvas.mine, which a user created \(the table belongs to postgres\): two rows would have",
        "DROP INDEX canvas.mine",
    ),
    "a unique constraint": (
        f"{ALL} ALTER TABLE {BOXES} ADD our int, ADD CONSTRAINT mine UNIQUE NULLS NOT DISTINCT (our)",
        "violate constraint mine on canvas.boxes, which a user created",
        "ALTER TABLE canvas.boxes DROP CONSTRAINT mine",
    ),
    "a deferred unique constraint": (
        f"{ALL} ALTER TABLE {BOXES} ADD our int, ADD CONSTRAINT mine UNIQUE NULLS NOT DISTINCT (our) DEFERRABLE",
        "violate constraint mine on canvas.boxes, which a user created",
        "ALTER TABLE canvas.boxes DROP CONSTRAINT mine",
    ),
    "an exclusion constraint": (
        f"{ALL} ALTER TABLE {BOXES} ADD CONSTRAINT mine EXCLUDE USING btree ((1) WITH =)",
        "two rows would conflict",
        "ALTER TABLE canvas.boxes DROP CONSTRAINT mine",
    ),
    "a check": (
        f"{ALL} ALTER TABLE {BOXES} ADD CONSTRAINT mine CHECK (id < 0) NOT VALID",
        "constraint mine on canvas.boxes, which a user created .*: a row violates it",
        "ALTER TABLE canvas.boxes DROP CONSTRAINT mine",
    ),
    "the bounds of a partition": (
        f"{ALL} CREATE TABLE public.every (LIKE {BOXES}) PARTITION BY LIST (id); DO $$ BEGIN EXECUTE format("
        f"'ALTER TABLE public.every ATTACH PARTITION {BOXES} FOR VALUES IN (%s)', (SELECT id FROM {BOXES})); END $$",
        "violate the bounds of canvas.boxes as a partition of public.every, which a user made it",
        "ALTER TABLE public.every DETACH PARTITION canvas.boxes",
    ),
    "a required column of people": (
        f"{ALL} ALTER TABLE {BOXES} ADD our int NOT NULL DEFAULT 1; ALTER TABLE {BOXES} ALTER our DROP DEFAULT",
        "the column our of canvas.boxes, which a user created and postgres owns, requires a value",
        "ALTER TABLE canvas.boxes ALTER COLUMN our DROP NOT NULL",
    ),
    "a domain that is never empty": (
        f"{ALL} CREATE DOMAIN public.given AS int NOT NULL; ALTER TABLE {BOXES} ADD our public.given DEFAULT 1;"
        f"ALTER TABLE {BOXES} ALTER our DROP DEFAULT",
        "the domain public.given, which a user created and postgres owns, refuses what rows of Canvas get",
        "ALTER DOMAIN public.given DROP NOT NULL",
    ),
    "a domain with a check": (
        f"{ALL} CREATE DOMAIN public.few AS int CONSTRAINT mine CHECK (VALUE < 5);"
        f"ALTER TABLE {BOXES} ADD our public.few; ALTER TABLE {BOXES} ALTER our SET DEFAULT 7",
        "the domain public.few, which a user created and postgres owns, refuses what rows of Canvas get",
        "ALTER DOMAIN public.few DROP CONSTRAINT mine",
    ),
    "a foreign key to a table of people": (
        f"CREATE TABLE public.parents AS SELECT id FROM {BOXES} ORDER BY 1 LIMIT 1;"
        f"ALTER TABLE public.parents ADD PRIMARY KEY (id); {ALL}"
        f"ALTER TABLE {BOXES} ADD CONSTRAINT mine FOREIGN KEY (id) REFERENCES public.parents",
        "rows refer to rows that public.parents does not have. Nothing was changed",
        "ALTER TABLE canvas.boxes DROP CONSTRAINT mine",
    ),
    "a foreign key to a table of Canvas": (
        f"{ALL} DELETE FROM {LIDS}; INSERT INTO {LIDS} (id, n) SELECT id, n FROM {BOXES};"
        f"ALTER TABLE {BOXES} ADD CONSTRAINT mine FOREIGN KEY (id) REFERENCES {LIDS} DEFERRABLE INITIALLY DEFERRED",
        "rows refer to rows that canvas.lids does not have, and tables of Canvas come at different times",
        "ALTER TABLE canvas.boxes DROP CONSTRAINT mine",
    ),
    "a key of a table that a trigger fills": (
        f"{ALL} CREATE TABLE public.audit (one int CONSTRAINT mine PRIMARY KEY);"
        "CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO public.audit VALUES (1); RETURN NEW; END';"
        f"CREATE TRIGGER noted AFTER INSERT ON {BOXES} FOR EACH ROW EXECUTE FUNCTION public.noted()",
        "violate constraint mine on public.audit, which a user created .*: a trigger or a foreign key changes",
        "ALTER TABLE public.audit DROP CONSTRAINT mine",
    ),
}


@by_each_load(VIOLATED)
def test_what_the_rows_of_canvas_violate_is_named(
    what: str,
    load: Load,
    boxes: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
) -> None:
    statements, told, remedy = VIOLATED[what]
    admin(database, statements)
    again(target, boxes)
    before = fetch(target, f"SELECT b::text FROM {BOXES} b ORDER BY 1"), execute(target, DEFINITIONS)
    with pytest.raises(TableFailure, match=told) as caught:
        run(load(replicator, BOXES))
    assert remedy in caught.value.message
    assert caught.value.type is not None
    assert caught.value.type.startswith("23")
    assert "Nothing was changed" in caught.value.message
    assert (fetch(target, f"SELECT b::text FROM {BOXES} b ORDER BY 1"), execute(target, DEFINITIONS)) == before
    admin(database, remedy)
    again(target, boxes)
    run(load(replicator, BOXES))
    assert equal(simulator, database)


ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")
REFER = """
WITH b AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS of FROM canvas.boxes),
     r AS (SELECT {key} AS key, row_number() OVER (ORDER BY {key}) - 1 AS place FROM {table})
UPDATE {table} SET box = b.id FROM b, r WHERE r.key = {table}.{key} AND b.place = r.place % b.of"""
"""Lets the rows of a table refer to all boxes."""


@pytest.mark.usefixtures("boxes")
@pytest.mark.parametrize("deferrability", DEFERRABILITIES)
def test_a_foreign_key_of_another_replicated_table_never_changes_it(
    deferrability: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """A row that Canvas has deleted here may still be there in the other table, which comes at another time."""
    admin(database, f"ALTER TABLE {LIDS} ADD box bigint")
    for action in ACTIONS:
        execute(target, REFER.format(table=LIDS, key="id"))
        foreign = f"FOREIGN KEY (box) REFERENCES {BOXES} ON DELETE {action} {deferrability}"
        admin(database, f"ALTER TABLE {LIDS} ADD CONSTRAINT mine {foreign}")
        before = fetch(target, f"SELECT l::text FROM {LIDS} l ORDER BY 1"), execute(target, DEFINITIONS)
        simulator.advance(tables=[BOXES], deletes=1, inserts=1, updates=2)
        with pytest.raises(
            TableFailure, match=r"rows of canvas\.lids refer to rows that Canvas has deleted, and"
        ) as caught:
            run(sync(replicator, BOXES))
        assert "constraint mine on canvas.lids, which a user created (postgres owns it)" in caught.value.message
        assert caught.value.type == "23503"
        assert (fetch(target, f"SELECT l::text FROM {LIDS} l ORDER BY 1"), execute(target, DEFINITIONS)) == before
        # As soon as the other table has lost its rows, too, this one passes, and the foreign key is as it was.
        execute(target, f"DELETE FROM {LIDS}")
        assert run(sync(replicator, BOXES)).rows_deleted == 1
        assert execute(target, DEFINITIONS) == before[1]
        assert equal(simulator, database)
        admin(database, f"ALTER TABLE {LIDS} DROP CONSTRAINT mine")
        assert run(init(replicator, LIDS)).rows_upserted == 12
    assert execute(target, NOTED) == "0"


@pytest.mark.usefixtures("boxes")
@pytest.mark.parametrize("deferrability", DEFERRABILITIES)
def test_a_foreign_key_of_a_table_of_people_does_what_it_says(
    deferrability: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    for action in ACTIONS:
        admin(
            database,
            "DROP TABLE IF EXISTS public.notes;"
            "CREATE TABLE public.notes (note int PRIMARY KEY, box bigint DEFAULT -1);"
            "INSERT INTO public.notes SELECT generate_series(1, 20)",
        )
        execute(target, REFER.format(table="public.notes", key="note"))
        if action == "SET DEFAULT":
            admin(database, "ALTER TABLE public.notes ALTER box DROP DEFAULT")
        foreign = f"FOREIGN KEY (box) REFERENCES {BOXES} ON DELETE {action} {deferrability}"
        admin(database, f"ALTER TABLE public.notes ADD CONSTRAINT mine {foreign}")
        definitions = execute(target, DEFINITIONS)
        simulator.advance(tables=[BOXES], deletes=2)
        if action in ("NO ACTION", "RESTRICT"):
            with pytest.raises(
                TableFailure, match=r"rows of public\.notes refer to rows that Canvas has dele"
            ) as caught:
                run(sync(replicator, BOXES))
            assert (
                "let it be ON DELETE CASCADE or SET NULL, or drop it (ALTER TABLE public.notes" in caught.value.message
            )
            assert execute(target, "SELECT count(box) FROM public.notes") == "20"
            execute(target, "DELETE FROM public.notes")
        assert run(sync(replicator, BOXES)).rows_deleted == 2
        assert execute(target, DEFINITIONS) == definitions
        assert equal(simulator, database)
        assert int(execute(target, "SELECT count(box) FROM public.notes")) < 20


@pytest.mark.parametrize("action", ACTIONS)
def test_a_foreign_key_to_the_table_itself_deletes_no_row_that_canvas_has(
    action: str, boxes: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """A row that Canvas has deleted is referred to by one that Canvas has, until that one is written."""
    execute(target, f"INSERT INTO {BOXES} (id, n) VALUES (-1, gen_random_uuid())")
    foreign = f"ADD CONSTRAINT mine FOREIGN KEY (parent) REFERENCES {BOXES} ON DELETE {action}"
    admin(database, f"ALTER TABLE {BOXES} ADD parent bigint; UPDATE {BOXES} SET parent = -1 WHERE id <> -1")
    admin(database, f"ALTER TABLE {BOXES} {foreign}")
    with pytest.raises(TableFailure, match=r"constraint mine on canvas\.boxes, which a user created"):
        run(init(replicator, BOXES))
    assert execute(target, f"SELECT count(*) FROM {BOXES}") == "13"
    # What refers to it is of people; as soon as they have changed it, the table is equal again.
    execute(target, f"UPDATE {BOXES} SET parent = id")
    assert run(init(replicator, BOXES)).rows_deleted == 1
    assert equal(simulator, database)


@pytest.mark.usefixtures("boxes")
def test_a_required_column_of_canvas_that_may_be_empty_is_what_canvas_says(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    admin(database, f"UPDATE {BOXES} SET note = ''; ALTER TABLE {BOXES} ALTER note SET NOT NULL")
    simulator.advance(tables=[BOXES], updates=12)
    run(sync(replicator, BOXES))
    assert equal(simulator, database)
    assert execute(
        target, f"SELECT attnotnull FROM pg_attribute WHERE attrelid = '{BOXES}'::regclass AND attname = 'note'"
    )
