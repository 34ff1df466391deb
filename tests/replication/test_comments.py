"""Comments on the tables and columns of Canvas: users' stay, DAP's follow."""

from __future__ import annotations

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, run
from tests.steps import init, sync

TABLE = "canvas.remarks"
SAID = f"""
SELECT concat_ws('; ', obj_description(a.attrelid), string_agg(col_description(attrelid, attnum), '; ' ORDER BY attnum))
FROM pg_attribute a WHERE attrelid = '{TABLE}'::regclass AND attname IN ('a', 'b') GROUP BY a.attrelid"""


def test_comments_of_users_stay_and_those_of_dap_follow(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The next sync overwrote a user's comment on a column, and deleted that on the table."""
    simulator.add_table("canvas", "remarks", "a:s50? b:text? c:text?", rows=12)
    run(init(replicator, TABLE))
    admin(database, f"COMMENT ON TABLE {TABLE} IS 'Ask Ann'; COMMENT ON COLUMN {TABLE}.a IS 'See wiki'")
    assert run(sync(replicator, TABLE)).state == "complete"
    simulator.alter("canvas", "remarks", "comment", "a", text="DAP on a.")
    simulator.alter("canvas", "remarks", "comment", "b", text="DAP on b.")
    simulator.alter("canvas", "remarks", "widen", "a", type="s200")
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert execute(target, SAID) == "Ask Ann; See wiki; DAP on b."
    simulator.alter("canvas", "remarks", "comment", text="DAP on all.")
    simulator.alter("canvas", "remarks", "drop_column", "c")
    run(init(replicator, TABLE))
    assert execute(target, SAID) == "Ask Ann; See wiki; DAP on b."
    admin(database, f"COMMENT ON TABLE {TABLE} IS NULL; COMMENT ON COLUMN {TABLE}.a IS NULL")
    run(sync(replicator, TABLE))
    assert execute(target, SAID) == "DAP on a.; DAP on b."


def test_a_comment_of_dap_that_changes_again_after_a_load_that_failed_is_not_taken_for_a_user_s(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """The comment came before its load and stayed for ever."""
    simulator.add_table("canvas", "remarks", "a:s50? b:text? c:text?", rows=12)
    run(init(replicator, TABLE))
    for number in (1, 2):
        simulator.alter("canvas", "remarks", "comment", "a", text=f"DAP on a, {number}.")
        simulator.alter("canvas", "remarks", "add_column", f"new_{number}", type="text")
        simulator.advance(tables=[TABLE], inserts=3)
        admin(database, f"ALTER TABLE {TABLE} ADD CONSTRAINT nothing CHECK (id < 0) NOT VALID")
        with pytest.raises(TableFailure, match="constraint nothing"):
            run(sync(replicator, TABLE))
        admin(database, f"ALTER TABLE {TABLE} DROP CONSTRAINT nothing")
        simulator.alter("canvas", "remarks", "comment", f"new_{number}", text="DAP on it.")
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert execute(target, SAID) == "DAP on a, 2.; The b of the record."
    assert execute(target, SAID.replace("'a', 'b'", "'new_1', 'new_2'")) == "DAP on it.; DAP on it."
    assert_equal(simulator, database, TABLE)


def test_backslashes_are_what_they_are_in_a_database_whose_strings_have_escapes(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """An enumeration lost them, so that its table failed forever; a comment could end within a string."""
    admin(database, f'ALTER DATABASE "{target.dbname}" SET standard_conforming_strings = off')
    simulator.add_table("canvas", "remarks", r"a:text? kind:enum(a\b|c)?", rows=12)
    simulator.alter("canvas", "remarks", "comment", "a", text="In C:\\new\\")
    run(init(replicator, TABLE))
    assert execute(target, f"SELECT col_description('{TABLE}'::regclass, 2)") == "In C:\\new\\"
    simulator.alter("canvas", "remarks", "add_enum_value", "kind", value="d\\e")
    assert run(sync(replicator, TABLE)).state == "complete_with_schema_update"
    assert_equal(simulator, database, TABLE)
