"""Every form in which JSON schema can describe a column: what it becomes, and that the client agrees where it can."""

from __future__ import annotations

import copy
import sys
import types
from typing import Any

import pytest
from dap.replicator.sql_op import create_table_dataclass

from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.schema import model as our_model
from cd2.replication.schema.model import table_model
from cd2.replication.schema.plan import plan_changes
from local.simulator.control import SimulatorControl
from tests.replication.column_forms import FORMS, REFERRED, whole
from tests.replication.replica import assert_equal, run
from tests.steps import init, sync

DIFFERENT = {
    "const empty": "char(0) is no type of PostgreSQL",
    "max 0": "varchar(0) is no type of PostgreSQL",
    "max huge": "varchar of that length is no type of PostgreSQL",
    "enum long": "PostgreSQL rejects the value",
    "enum 64 umlauts": "PostgreSQL rejects the value",
    "enum NUL": "PostgreSQL rejects the value",
    "enum surrogate": "PostgreSQL rejects the value",
    "numeric quarter": "it would be rounded",
}
"""Where the client makes something that PostgreSQL rejects, or that loses decimals."""


def described(column: Any) -> dict[str, Any]:
    """A table with one column besides its key."""

    def part(name: str, schema: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "meta": {"type": "object", "properties": {}},
            "key": part("id", whole(format="int64")),
            "value": part("c", column),
        },
        "required": [],
        "additionalProperties": False,
    }


def ours(column: Any) -> str:
    """Our column, as `FORMS` writes it."""
    model = table_model(TableName("canvas", "t"), described(column) | REFERRED, 1)
    made = model.columns[1]
    values = " " + "|".join(model.enums[0].values) if model.enums else ""
    name = made.type.replace('"canvas"."t__c"', "enum")
    return f"{name}{'' if made.required else '?'}{values}{' unknown' if model.notes else ''}"


def theirs(column: Any) -> str | None:
    """The type of the official client's column; None: it cannot, or makes a number and a table of values."""
    module = types.ModuleType("tests_forms_client")
    sys.modules[module.__name__] = module
    try:
        generator = our_model._generator(module, "canvas")
        generator.create(tables=[create_table_dataclass("t", module, copy.deepcopy(described(column)))])
    except Exception:
        return None
    finally:
        del sys.modules[module.__name__]
    (namespace,) = (found for found in generator.state.namespaces.values() if found.tables)
    if len(namespace.tables) > 1:
        return None
    (table,) = namespace.tables.values()
    made = table.columns["c"]
    return f"{made.data_type}{'?' if made.nullable else ''}".replace('"canvas"."t__c"', "enum")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_column_is_represented(form: str) -> None:
    column, expected = FORMS[form]
    before = copy.deepcopy(column)
    assert ours(column) == expected
    assert column == before


@pytest.mark.parametrize("form", [form for form in FORMS if form not in DIFFERENT])
def test_what_the_client_can_represent_is_the_same(form: str) -> None:
    column, _ = FORMS[form]
    expected = theirs(column)
    if expected is not None:
        found = ours(column)
        assert found == expected or found.startswith(f"{expected} ")


def test_the_client_can_represent_many_of_them() -> None:
    """Otherwise the comparison above would say nothing."""
    assert sum(theirs(column) is not None for column, _ in FORMS.values()) > 50


@pytest.mark.parametrize("form", ["true", "empty", "unknown type", "ref nowhere"])
def test_an_unknown_form_is_told(form: str) -> None:
    (note,) = table_model(TableName("canvas", "t"), described(FORMS[form][0]), 1).notes
    assert note == "canvas.t: DAP describes the column c in an unknown form: it is replicated as text."


def test_every_form_is_a_column_that_postgresql_takes_and_that_is_not_altered_again(target: DatabaseTarget) -> None:
    async def work() -> None:
        async with connected(target) as connection, connection.transaction():
            for number_of, (column, _) in enumerate(FORMS.values()):
                model = table_model(TableName("canvas", f"t{number_of}"), described(column) | REFERRED, 1)
                plan = await plan_changes(connection, model, None)
                await connection.execute(f"{plan.additive or ''}{plan.create}{plan.add_key}")
                again = await plan_changes(connection, model, model.description)
                assert (again.additive, again.changes, again.altered) == (None, False, ()), column

    run(work())


def test_an_enumeration_or_any_text_is_a_text(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """The documented form of web_logs; the official client cannot read it, or makes numbers of it."""
    simulator.add_table(
        "canvas",
        "forms",
        "required:openenum(a|b) optional:openenum(a|b|c)? changed:enum(a|b) list:openenum(a)[]?",
        rows=30,
    )
    run(init(replicator, "canvas.forms"))
    assert_equal(simulator, database, "canvas.forms")
    simulator.alter("canvas", "forms", "retype", "changed", type="openenum(a|b)")
    simulator.alter("canvas", "forms", "add_enum_value", "optional", value="d")
    simulator.advance(0.3, ["canvas.forms"])
    assert run(sync(replicator, "canvas.forms")).state == "complete_with_schema_update"
    assert_equal(simulator, database, "canvas.forms")
