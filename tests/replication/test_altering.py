"""Schema changes: what the official client cannot do is done or told, and what users added stays."""

import itertools
import logging
from collections.abc import Callable

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from cd2.replication.schema.model import table_model
from local.compare import compare
from local.simulator.control import SimulatorControl
from tests.replication.replica import assert_equal, execute, run
from tests.steps import init, sync

LONG = "a_column_with_so_long_a_name_that_its_type_has_to_be_cut"


@pytest.fixture
def table(simulator: SimulatorControl) -> Callable[[str], str]:
    """Makes a table of these columns with twelve rows; returns its name."""
    numbers = itertools.count(1)

    def make(columns: str) -> str:
        name = f"things_{next(numbers)}"
        simulator.add_table("canvas", name, columns, rows=12)
        return name

    return make


def follow(replicator: Replicator, name: str) -> TableResult:
    """What a run of the DAG does with a table: sync, and init if that is needed."""
    result = run(sync(replicator, f"canvas.{name}"))
    return run(init(replicator, f"canvas.{name}")) if result.state == "needs_init" else result


def column_type(target: DatabaseTarget, table: str, column: str) -> str:
    return execute(
        target,
        "SELECT format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END "
        f"FROM pg_attribute WHERE attrelid = 'canvas.{table}'::regclass AND attname = '{column}'",
    )


def labels(target: DatabaseTarget, type_name: str) -> str:
    return execute(target, f"SELECT enum_range(NULL::{type_name})::text")


def test_lists_of_every_kind_become_arrays(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    name = table("texts:text[]? sized:s40[]? numbers:i64[]? states:enum(a|b)[]? dates:date[]? prices:num(6,2)[]?")
    run(init(replicator, f"canvas.{name}"))
    assert_equal(simulator, database, f"canvas.{name}")
    simulator.advance(tables=[f"canvas.{name}"], inserts=5, updates=5, deletes=2)
    assert run(sync(replicator, f"canvas.{name}")).state == "complete"
    assert_equal(simulator, database, f"canvas.{name}")
    assert column_type(target, name, "sized") == "character varying(40)[]"


def test_a_required_column_is_added_to_a_table_with_rows(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    name = table("a:text?")
    run(init(replicator, f"canvas.{name}"))
    simulator.alter("canvas", name, "add_column", "b", type="i32", nullable=False)
    assert follow(replicator, name).state == "complete_with_schema_update"
    assert column_type(target, name, "b") == "integer NOT NULL"
    assert_equal(simulator, database, f"canvas.{name}")


def test_rows_without_a_value_that_is_now_required_lead_to_a_reinit(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    name = table("a:text?")
    run(init(replicator, f"canvas.{name}"))
    # A row that DAP does not have and therefore never delivers again.
    execute(target, f"INSERT INTO canvas.{name} (id) VALUES (-1)")
    simulator.alter("canvas", name, "not_null", "a")
    result = follow(replicator, name)
    assert (result.action, result.state) == ("reinit", "initialized")
    assert column_type(target, name, "a") == "text NOT NULL"
    assert_equal(simulator, database, f"canvas.{name}")


def test_a_dropped_value_leaves_its_type_and_views_stay(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    name = table("state:enum(a|b|c)")
    run(init(replicator, f"canvas.{name}"))
    execute(target, f"CREATE VIEW public.states AS SELECT state FROM canvas.{name}")
    simulator.alter("canvas", name, "drop_enum_value", "state", value="b")
    result = follow(replicator, name)
    assert result.state == "complete_with_schema_update"
    assert result.dependents.restored == ("public.states",)
    assert labels(target, f"canvas.{name}__state") == "{a,c,__dap_unspecified__}"
    assert execute(target, "SELECT count(*) FROM public.states") == "12"
    assert_equal(simulator, database, f"canvas.{name}")


def test_a_dropped_value_that_something_else_needs_stays(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = table("state:enum(a|b|c)")
    run(init(replicator, f"canvas.{name}"))
    execute(target, f"CREATE TABLE public.mine (state canvas.{name}__state)")
    simulator.alter("canvas", name, "drop_enum_value", "state", value="b")
    with caplog.at_level(logging.WARNING):
        assert follow(replicator, name).state == "complete_with_schema_update"
    assert "another object uses the type" in caplog.text
    assert labels(target, f"canvas.{name}__state") == "{a,b,c,__dap_unspecified__}"
    (compared,) = compare(simulator.base_url, database, [f"canvas.{name}"])
    assert (compared.missing, compared.superfluous, compared.changed) == (0, 0, 0)
    assert compared.problems == ["the values of column state differ in b"]


@pytest.mark.parametrize(
    ("before", "after"), [("text", "i64"), ("i64", "text"), ("enum(a|b)", "i32"), ("text", "json")]
)
def test_another_type_is_followed_even_if_the_old_values_do_not_fit(
    before: str,
    after: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    table: Callable[[str], str],
) -> None:
    name = table(f"a:{before}? b:text?")
    run(init(replicator, f"canvas.{name}"))
    simulator.alter("canvas", name, "retype", "a", type=after)
    assert follow(replicator, name).state in ("complete_with_schema_update", "initialized")
    assert_equal(simulator, database, f"canvas.{name}")


def test_a_table_with_another_key_gets_the_right_one(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    """The official client makes a key of several columns of the first one only."""
    name = table("*one:i64 *two:i64 a:text?")
    run(init(replicator, f"canvas.{name}"))
    execute(target, f"DELETE FROM canvas.{name} a USING canvas.{name} b WHERE a.one = b.one AND a.two > b.two")
    execute(target, f"ALTER TABLE canvas.{name} DROP CONSTRAINT pk_{name}")
    execute(target, f"ALTER TABLE canvas.{name} ADD CONSTRAINT pk_{name} PRIMARY KEY (one)")
    assert follow(replicator, name).action == "reinit"
    definition = execute(target, f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'pk_{name}'")
    assert definition == "PRIMARY KEY (one, two)"
    assert_equal(simulator, database, f"canvas.{name}")


def test_columns_constraints_and_indexes_of_users_stay(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    """The official client drops the columns and the UNIQUE constraints."""
    name = table("a:s50? b:text?")
    run(init(replicator, f"canvas.{name}"))
    execute(
        target, f"ALTER TABLE canvas.{name} ADD note text, ADD words tsvector, ADD CONSTRAINT mine UNIQUE (id, note)"
    )
    execute(target, f"UPDATE canvas.{name} SET note = 'kept'")
    simulator.alter("canvas", name, "widen", "a", type="s200")
    simulator.alter("canvas", name, "drop_column", "b")
    simulator.advance(tables=[f"canvas.{name}"], updates=6)
    assert follow(replicator, name).state == "complete_with_schema_update"
    assert column_type(target, name, "a") == "character varying(200)"
    assert execute(target, f"SELECT count(*) FROM canvas.{name} WHERE note = 'kept'") == "12"
    assert execute(target, "SELECT count(*) FROM pg_constraint WHERE conname = 'mine'") == "1"
    gone = f"SELECT count(*) FROM pg_attribute WHERE attrelid = 'canvas.{name}'::regclass AND attname = 'b'"
    assert execute(target, gone) == "0"


def test_a_view_in_the_place_of_the_table_is_refused(
    replicator: Replicator, target: DatabaseTarget, table: Callable[[str], str]
) -> None:
    name = table("a:text?")
    execute(target, f"CREATE VIEW canvas.{name} AS SELECT 1 AS id")
    with pytest.raises(TableFailure, match="a view has the name of the replicated table"):
        run(init(replicator, f"canvas.{name}"))


def test_type_names_are_cut_as_postgresql_does_and_told_apart(
    replicator: Replicator, simulator: SimulatorControl, database: str, table: Callable[[str], str]
) -> None:
    name = table(f"{LONG}:enum(a|b)?")
    run(init(replicator, f"canvas.{name}"))
    simulator.advance(tables=[f"canvas.{name}"], inserts=3)
    assert run(sync(replicator, f"canvas.{name}")).state == "complete"
    assert_equal(simulator, database, f"canvas.{name}")

    enum = {"type": "string", "enum": ["x"]}
    properties = {
        "key": {"type": "object", "properties": {"id": {"type": "integer", "format": "int64"}}, "required": ["id"]},
        "value": {"type": "object", "properties": {f"{LONG}_{n}": enum for n in (1, 2)}, "required": []},
    }
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties}
    described = {**schema, "required": [], "additionalProperties": False}
    first, second = table_model(TableName("canvas", "t"), described, 1).enums
    assert first.name.local_id != second.name.local_id
    assert max(len(first.name.local_id), len(second.name.local_id)) <= 63


def test_a_schema_that_cannot_be_represented_is_told() -> None:
    with pytest.raises(TableFailure, match=r"canvas.t: its schema \(version 7\) cannot be represented"):
        table_model(TableName("canvas", "t"), {"type": "object", "properties": {"key": {"properties": {}}}}, 7)


def test_the_hard_tables_are_replicated(replicator: Replicator, simulator: SimulatorControl, database: str) -> None:
    """Keys of two and three columns, objects without properties, names that Python keeps for itself ..."""
    names = simulator.add_hard_tables()
    for turn in range(2):
        for name in names:
            namespace, hard = name.split(".")
            step = sync if turn else init
            assert run(step(replicator, TableName(namespace, hard))).state in ("initialized", "complete")
        assert_equal(simulator, database, *names)
        simulator.advance(0.5, names)


def test_an_index_on_a_value_does_not_stop_the_table_when_another_value_is_dropped(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    name = table("state:enum(a|b|c)")
    run(init(replicator, f"canvas.{name}"))
    execute(target, f"CREATE INDEX active ON canvas.{name} (id) WHERE state = 'a'")
    simulator.alter("canvas", name, "drop_enum_value", "state", value="b")
    result = follow(replicator, name)
    assert (result.state, result.dependents.restored) == ("complete_with_schema_update", ("index canvas.active",))
    assert execute(target, "SELECT count(*) FROM pg_indexes WHERE indexname = 'active'") == "1"
    assert_equal(simulator, database, f"canvas.{name}")
    assert follow(replicator, name).state == "complete"


@pytest.mark.parametrize(("change", "kept"), [("drop_column", "null"), ("retype", "null"), ("view", "{a,b,c}")])
def test_an_enumeration_type_goes_with_its_last_user(
    change: str,
    kept: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    table: Callable[[str], str],
) -> None:
    name = table("state:enum(a|b|c)? states:enum(a|b|c)[]?")
    run(init(replicator, f"canvas.{name}"))
    if change == "view":
        execute(target, f"CREATE VIEW public.user AS SELECT NULL::canvas.{name}__state AS state")
        change = "drop_column"
    for column in ("state", "states"):
        simulator.alter("canvas", name, change, column, type="text")
    result = follow(replicator, name)
    assert result.state == "complete_with_schema_update"
    left = {"null": "0", "{a,b,c}": "1"}[kept]
    assert execute(target, f"SELECT count(*) FROM pg_type WHERE typname LIKE '{name}\\_\\_%'") == left
    assert_equal(simulator, database, f"canvas.{name}")
