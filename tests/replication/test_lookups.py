"""Databases of the official client, which keeps numbers and a table of values where a text may be any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from cd2.replication.results import Dependents
from local.simulator.control import SimulatorControl
from tests.replication.client_process import DSN, client
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, fetch, make_replicator, run
from tests.steps import init, sync


@pytest.mark.parametrize("rows", [0, 30])
def test_the_clients_numbers_become_their_values(
    rows: int, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """A database of the client's is taken over: never is a number left as a text."""
    columns = "kind:openenum(__dap_unspecified__) other:openenum(__dap_unspecified__) n:i32?"
    simulator.add_table("canvas", "forms", columns, rows=rows)
    client(simulator.base_url, database, "initdb", "canvas", "forms")
    execute(target, "CREATE INDEX mine ON canvas.forms (kind) WHERE n > 0")
    execute(target, "CREATE VIEW public.kinds AS SELECT id, kind FROM canvas.forms")
    simulator.advance(tables=["canvas.forms"], inserts=3)
    result = run(sync(replicator, "canvas.forms"))
    assert result.state == "complete_with_schema_update"
    assert result.dependents == Dependents(("public.kinds",))
    assert_equal(simulator, database, "canvas.forms")
    left = "SELECT count(*) FROM pg_class WHERE relname IN ('forms__kind', 'forms__other')"
    assert execute(target, left) == "0"
    assert run(sync(replicator, "canvas.forms")).state == "complete"


def test_a_table_of_values_stays_while_a_view_needs_it(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "forms", "kind:openenum(__dap_unspecified__)", rows=9)
    client(simulator.base_url, database, "initdb", "canvas", "forms")
    joined = "SELECT f.id, k.value FROM canvas.forms f JOIN canvas.forms__kind k ON k.id = f.kind"
    execute(target, f"CREATE VIEW public.kinds AS {joined}")
    result = run(sync(replicator, "canvas.forms"))
    assert result.dependents.broken == ("public.kinds",)
    assert execute(target, "SELECT count(*) FROM pg_class WHERE relname = 'forms__kind'") == "1"
    assert_equal(simulator, database, "canvas.forms")


ROOT = Path(__file__).parents[2]
FORMS = "canvas.forms"
KINDS = f"SELECT id, kind::text FROM {FORMS} ORDER BY id"


@pytest.fixture
def forms(simulator: SimulatorControl, database: str) -> str:
    """A table that the client has initialized."""
    simulator.add_table("canvas", "forms", "kind:openenum(__dap_unspecified__)", rows=30)
    client(simulator.base_url, database, "initdb", "canvas", "forms")
    return FORMS


def test_a_column_that_may_have_no_value_is_translated_too(
    forms: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    execute(target, f"ALTER TABLE {forms} ALTER kind DROP NOT NULL")
    execute(target, f"UPDATE {forms} SET kind = NULL WHERE id = (SELECT min(id) FROM {forms})")
    query = f"SELECT f.id, k.value FROM {forms} f LEFT JOIN canvas.forms__kind k ON k.id = f.kind ORDER BY f.id"
    before = fetch(target, query)
    simulator.alter("canvas", "forms", "nullable", "kind")
    result = run(sync(replicator, forms))
    assert (result.state, result.notes) == ("complete_with_schema_update", ())
    assert fetch(target, KINDS) == before
    assert before[0][1] is None
    run(init(replicator, forms))
    assert_equal(simulator, database, forms)


@pytest.mark.parametrize("nullable", [True, False])
def test_numbers_without_a_value_cost_a_snapshot_and_are_told(
    nullable: bool,
    forms: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
) -> None:
    """They became NULL without a word, and no increment brought their values."""
    if nullable:
        simulator.alter("canvas", "forms", "nullable", "kind")
    admin(
        database,
        "ALTER TABLE canvas.forms DROP CONSTRAINT IF EXISTS fk_forms_kind;"
        "DO $$ DECLARE c text; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE contype = 'f' AND"
        " conrelid = 'canvas.forms'::regclass LOOP EXECUTE format('ALTER TABLE canvas.forms DROP CONSTRAINT %I', c);"
        " END LOOP; END $$; DELETE FROM canvas.forms__kind WHERE id = (SELECT min(kind) FROM canvas.forms)",
    )
    result = run(sync(replicator, forms))
    assert result.state == "needs_init"
    assert result.error
    assert "kind may have values that are not Canvas's: it needs a new snapshot." in result.error.message
    result = run(init(replicator, forms))
    assert "kind had numbers of the official client that its table of values lacks" in "".join(result.notes)
    assert_equal(simulator, database, forms)
    assert execute(target, "SELECT count(*) FROM pg_class WHERE relname = 'forms__kind'") == "0"


def test_old_rows_of_a_log_keep_the_values_that_the_table_of_values_has(
    forms: str, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    replicator = make_replicator(simulator, target, append_only=[forms])
    query = f"SELECT f.id, k.value FROM {forms} f JOIN canvas.forms__kind k ON k.id = f.kind ORDER BY f.id"
    before = fetch(target, query)
    simulator.expire("canvas", "forms", 10)
    assert run(sync(replicator, forms)).state == "complete_with_schema_update"
    assert fetch(target, KINDS) == before


TYPE = f"""
SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = '{FORMS}'::regclass AND attname = 'kind'"""


@pytest.mark.parametrize("changes", [0, 3])
def test_the_client_stops_at_a_table_that_was_taken_over_and_changes_nothing(
    changes: int,
    forms: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
) -> None:
    """docs/migration.md says so."""
    run(sync(replicator, forms))
    simulator.advance(tables=[forms], inserts=changes, updates=changes)
    before = fetch(target, KINDS)
    # In a process of its own, whose words can be read.
    command = [
        sys.executable,
        "-m",
        "tests.replication.client_process",
        simulator.base_url,
        "syncdb",
        "canvas",
        "forms",
    ]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {DSN: database}, capture_output=True, check=False)
    assert (done.returncode, b"contains null values" in done.stderr) == (1, True)
    assert (fetch(target, KINDS), execute(target, TYPE)) == (before, "text")
    assert run(sync(replicator, forms)).state == "complete"
    assert_equal(simulator, database, forms)


def test_the_client_makes_numbers_of_an_empty_table_again_and_they_become_values(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """docs/migration.md says so."""
    simulator.add_table("canvas", "forms", "kind:openenum(__dap_unspecified__)", rows=0)
    client(simulator.base_url, database, "initdb", "canvas", "forms")
    run(sync(replicator, FORMS))
    assert execute(target, TYPE) == "text"
    simulator.advance(tables=[FORMS], inserts=9)
    client(simulator.base_url, database, "syncdb", "canvas", "forms")
    assert execute(target, TYPE) == "integer"
    assert run(sync(replicator, FORMS)).state == "complete_with_schema_update"
    assert_equal(simulator, database, FORMS)
