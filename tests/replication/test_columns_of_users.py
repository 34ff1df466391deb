"""Columns of users whose names DAP uses later: what users keep in them is never shown as Canvas's, nor lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run
from tests.steps import init, sync

TABLE = "canvas.things"
NEW = "DAP has a new column note, but the table already has a column of that name"
DAPS = f"; COMMENT ON COLUMN {TABLE}.note IS 'The note of the record.'"
"""As the simulator describes it."""
FILL = f"; UPDATE {TABLE} SET note = '7' WHERE id = (SELECT min(id) FROM {TABLE})"
HAS_NOTE = f"SELECT count(*) FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass AND attname = 'note'"
# What users did, and the type that DAP's column has.
TAKEN = {
    "empty": ("note text", "text"),
    "empty, with a comment": (f"note text; COMMENT ON COLUMN {TABLE}.note IS 'Ours'", "text"),
    "empty, of another type": ("note jsonb", "i64"),
    "empty, of another type, with DAP's comment": (f"note varchar(9){DAPS}", "text"),
    "with values": (f"note text{FILL}", "text"),
    "with values of another type": (f"note integer{FILL}", "i64"),
    "of a type that DAP never has": (f"note tsvector{FILL}", "enum(a|b)"),
    "with another limit": (f"note varchar(9){FILL}", "s20"),
    "with a default": ("note text DEFAULT 'mine'", "text"),
    "with a default, with DAP's comment": (f"note text{DAPS}; ALTER TABLE {TABLE} ALTER note SET DEFAULT 'x'", "text"),
    "required": ("note jsonb NOT NULL DEFAULT '{}'", "json"),
    "generated": ("note text GENERATED ALWAYS AS (id::text || '!') STORED", "text"),
    "generated, with DAP's comment": (f"note text GENERATED ALWAYS AS (id::text || '!') STORED{DAPS}", "text"),
    "an identity": (f"note bigint GENERATED ALWAYS AS IDENTITY{DAPS}", "i64"),
    "an enumeration": (f"note canvas.things__kind{FILL.replace('7', 'x')}{DAPS}", "enum(x|y)"),
}


@pytest.fixture
def made(simulator: SimulatorControl, replicator: Replicator) -> str:
    """The table with twelve rows."""
    simulator.add_table("canvas", "things", "a:text? kind:enum(x|y)?", rows=12)
    run(init(replicator, TABLE))
    return TABLE


@pytest.fixture
def offer(made: str, simulator: SimulatorControl) -> Callable[..., None]:
    """Lets DAP have the column, with values in all rows."""

    def add(kind: str = "text") -> None:
        simulator.alter("canvas", "things", "add_column", "note", type=kind, backfill=True)

    return add


def failing_load(replicator: Replicator, database: str) -> None:
    """A sync that adds columns, and then cannot load."""
    admin(database, f"ALTER TABLE {TABLE} ADD CONSTRAINT nothing CHECK (id < 0) NOT VALID")
    with pytest.raises(TableFailure, match="constraint nothing"):
        run(sync(replicator, TABLE))
    admin(database, f"ALTER TABLE {TABLE} DROP CONSTRAINT nothing")


@pytest.mark.parametrize("what", TAKEN)
def test_a_column_of_a_user_never_becomes_one_of_canvas(
    what: str,
    offer: Callable[..., None],
    simulator: SimulatorControl,
    replicator: Replicator,
    database: str,
    target: DatabaseTarget,
) -> None:
    """Empty ones did, and those with DAP's comment: a user filled them meanwhile, or lost what was in them."""
    column, kind = TAKEN[what]
    admin(database, f"ALTER TABLE {TABLE} ADD {column}")
    kept = execute(target, f"SELECT array_agg(note::text ORDER BY id)::text FROM {TABLE}")
    offer(kind)
    for load in (sync, sync, init):
        with pytest.raises(TableFailure, match=f"{NEW} that no load has made: rename it") as caught:
            run(load(replicator, TABLE))
        assert 'or drop it (ALTER TABLE "canvas"."things" DROP COLUMN "note")' in caught.value.message
    assert execute(target, f"SELECT array_agg(note::text ORDER BY id)::text FROM {TABLE}") == kept
    execute(target, f"ALTER TABLE {TABLE} RENAME COLUMN note TO my_note")
    result = run(sync(replicator, TABLE))
    assert (result.state, result.notes) == ("complete_with_schema_update", ())
    assert execute(target, f"SELECT array_agg(my_note::text ORDER BY id)::text FROM {TABLE}") == kept
    execute(target, f"ALTER TABLE {TABLE} DROP COLUMN my_note")
    assert_equal(simulator, database, TABLE)


def test_one_that_is_just_as_dap_describes_it_gets_canvas_s_values_from_a_snapshot_and_that_is_told(
    offer: Callable[..., None], simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    """The official client may have made it, in an attempt that was killed: its values may be Canvas's, or not."""
    admin(database, f"ALTER TABLE {TABLE} ADD note text{DAPS}{FILL}")
    offer()
    for _ in range(2):
        result = run(sync(replicator, TABLE))
        assert result.state == "needs_init"
        assert result.error
        assert "note may have values that are not Canvas's: it needs a new snapshot." in result.error.message
    result = run(init(replicator, TABLE))
    assert result.notes == (f"{TABLE}: the table already had DAP's new column note, with values: it now has Canvas's.",)
    assert_equal(simulator, database, TABLE)
    result = run(sync(replicator, TABLE))
    assert (result.state, result.notes) == ("complete", ())


def test_an_empty_one_that_is_just_as_dap_describes_it_is_used_and_that_is_told(
    offer: Callable[..., None], simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    admin(database, f"ALTER TABLE {TABLE} ADD note text{DAPS}")
    offer()
    simulator.alter("canvas", "things", "add_column", "other", type="text")
    failing_load(replicator, database)
    result = run(sync(replicator, TABLE))
    assert result.notes == (
        f"{TABLE}: the table already had DAP's new column note, empty and just as DAP describes it: it is now "
        "Canvas's.",
    )
    assert_equal(simulator, database, TABLE)


@pytest.mark.parametrize("kind", ["text", "i64", "enum(x|y)"])
def test_a_column_that_a_failed_load_has_added_is_ours(
    kind: str, offer: Callable[..., None], simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    offer(kind)
    failing_load(replicator, database)
    simulator.alter("canvas", "things", "retype", "note", type="json")
    result = run(sync(replicator, TABLE))
    assert (result.state, result.notes) == ("complete_with_schema_update", ())
    assert_equal(simulator, database, TABLE)


def test_values_that_users_put_into_a_column_that_a_failed_load_has_added_are_not_canvas_s(
    offer: Callable[..., None], simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    offer()
    failing_load(replicator, database)
    admin(database, FILL[2:])
    assert run(sync(replicator, TABLE)).state == "needs_init"
    run(init(replicator, TABLE))
    assert_equal(simulator, database, TABLE)


def test_a_column_that_dap_had_only_while_loads_failed_goes_if_a_load_has_added_it(
    offer: Callable[..., None],
    simulator: SimulatorControl,
    replicator: Replicator,
    database: str,
    target: DatabaseTarget,
) -> None:
    offer()
    failing_load(replicator, database)
    simulator.alter("canvas", "things", "drop_column", "note")
    run(sync(replicator, TABLE))
    assert execute(target, HAS_NOTE) == "0"
    # A user's stays, even if it is empty.
    admin(database, f"ALTER TABLE {TABLE} ADD note text")
    offer()
    with pytest.raises(TableFailure, match=NEW):
        run(sync(replicator, TABLE))
    simulator.alter("canvas", "things", "drop_column", "note")
    run(sync(replicator, TABLE))
    assert execute(target, HAS_NOTE) == "1"


def test_a_column_that_a_user_made_after_dap_had_dropped_its_own_is_the_user_s(
    offer: Callable[..., None], simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    offer()
    run(sync(replicator, TABLE))
    simulator.alter("canvas", "things", "drop_column", "note")
    run(sync(replicator, TABLE))
    admin(database, f"ALTER TABLE {TABLE} ADD note text{FILL}")
    offer()
    with pytest.raises(TableFailure, match=NEW):
        run(sync(replicator, TABLE))


def test_a_name_in_other_capitals_is_another(
    offer: Callable[..., None], simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    execute(target, f"ALTER TABLE {TABLE} ADD \"Note\" text DEFAULT 'mine'")
    offer()
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert execute(target, f"SELECT count(*) FROM {TABLE} WHERE \"Note\" = 'mine'") == "12"
    assert execute(target, f"SELECT count(*) FROM {TABLE} WHERE note = 'mine'") == "0"


def test_a_table_whose_cursor_is_gone_keeps_the_columns_of_users(
    offer: Callable[..., None],
    simulator: SimulatorControl,
    replicator: Replicator,
    database: str,
    target: DatabaseTarget,
) -> None:
    """So people ask for an init; its snapshot overwrote them."""
    admin(database, f"ALTER TABLE {TABLE} ADD note text{FILL}; DELETE FROM instructure_dap.table_sync")
    offer()
    with pytest.raises(TableFailure, match=NEW):
        run(init(replicator, TABLE))
    assert execute(target, f"SELECT count(*) FROM {TABLE} WHERE note = '7'") == "1"
    admin(database, f"ALTER TABLE {TABLE} DROP note")
    assert run(init(replicator, TABLE)).action == "reinit"
    assert_equal(simulator, database, TABLE)


@pytest.mark.parametrize("schema", ["nothing", "{}", '{"properties": 7}'])
@pytest.mark.parametrize("recorded", [True, False])
def test_where_nothing_tells_which_columns_are_canvas_s_a_snapshot_makes_them_so(
    recorded: bool, schema: str, made: str, simulator: SimulatorControl, replicator: Replicator, database: str
) -> None:
    admin(database, f"UPDATE instructure_dap.table_sync SET schema_description = '{schema}'")
    if not recorded:
        admin(database, f"DELETE FROM cd2.loaded_columns; UPDATE {TABLE} SET a = 'mine'")
    result = run(sync(replicator, TABLE))
    assert result.state == ("complete" if recorded else "needs_init")
    if not recorded:
        assert run(init(replicator, TABLE)).notes == ()
    assert_equal(simulator, database, TABLE)


def test_in_an_append_only_table_a_column_that_was_kept_goes_on_and_a_user_s_does_not(
    offer: Callable[..., None], simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """Its old values are Canvas's, and DAP may no longer have them."""
    replicator = make_replicator(simulator, target, append_only=[TABLE])
    offer()
    run(sync(replicator, TABLE))
    old = fetch(target, f"SELECT id, note FROM {TABLE} ORDER BY id")
    for _ in range(2):
        simulator.alter("canvas", "things", "drop_column", "note")
        run(sync(replicator, TABLE))
        simulator.alter("canvas", "things", "add_column", "note", type="text")
        assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
        assert fetch(target, f"SELECT id, note FROM {TABLE} ORDER BY id") == old
    simulator.alter("canvas", "things", "drop_column", "note")
    run(sync(replicator, TABLE))
    admin(database, f"ALTER TABLE {TABLE} RENAME note TO old; ALTER TABLE {TABLE} ADD note text{DAPS}{FILL}")
    offer()
    for load in (sync, init):
        with pytest.raises(TableFailure, match=f"{NEW}, kept when DAP no longer had it or created by a user: rename"):
            run(load(replicator, TABLE))
