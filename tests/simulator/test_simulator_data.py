"""What is in the tables: every hurtful value, hard tables, and schema changes that touch rows or do not."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from local.compare import compare
from local.simulator.control import SimulatorError
from local.simulator.data.values import HURTFUL, HURTFUL_TEXTS
from tests.simulator.running import Dap, RawClient, RunningSimulator


def truth(simulator: RunningSimulator, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The description of a table, and its rows by column."""
    head, *rows = simulator.control.truth(*name.split(".", 1))
    names = [column["name"] for column in head["columns"]]
    return head, [dict(zip(names, row, strict=True)) for row in rows]


def test_every_hurtful_value_occurs_in_the_tables_of_every_type(simulator: RunningSimulator) -> None:
    found: dict[str, set[str]] = {}
    nulls: set[str] = set()
    for name in simulator.control.tables():
        head, rows = truth(simulator, name)
        for column in head["columns"]:
            values = [row[column["name"]] for row in rows]
            if any(value is None for value in values):
                nulls.add(column["kind"])
            if column["array"]:
                found.setdefault("array of " + column["kind"], set()).update(map(json.dumps, values))
            else:
                found.setdefault(column["kind"], set()).update(map(json.dumps, values))
    assert set(map(json.dumps, HURTFUL_TEXTS)) <= found["text"]
    for kind in ("i64", "i32", "i16", "json"):
        assert set(map(json.dumps, HURTFUL[kind])) <= found[kind], kind
    floats = {json.dumps(v) if math.isfinite(v) else f'"{v}"'.replace("nan", "NaN") for v in HURTFUL["f64"]}
    assert {text.replace('"inf"', '"Infinity"').replace('"-inf"', '"-Infinity"') for text in floats} <= found["f64"]
    assert '"0001-01-02"' in found["date"]
    assert '"9999-12-30"' in found["date"]
    assert '"9999-12-31T23:59:59.999Z"' in found["ts"]
    assert '"__dap_unspecified__"' in found["enum"]
    assert '"9999.99"' in found["numeric"]
    assert {"array of text", "array of i64", "array of enum"} <= set(found)
    assert all("[]" in values for kind, values in found.items() if kind.startswith("array"))
    assert {"text", "string", "i64", "f64", "ts", "json", "uuid", "date", "enum", "numeric", "bool"} <= nulls


def test_a_new_column_is_empty_in_rows_written_before(simulator: RunningSimulator, raw: RawClient) -> None:
    name = "canvas.role_overrides"
    at = raw.finished(name)["at"]
    _, before = truth(simulator, name)
    assert simulator.control.alter("canvas", "role_overrides", "add_column", "color", type="i32") == 2
    head, after = truth(simulator, name)
    assert after == [{**row, "color": None} for row in before]
    assert head["columns"][-1]["type"] == "integer"
    assert raw.finished(name, since=at)["until"] == at, "no row was written"
    assert raw.finished(name, since=at)["schema_version"] == 2

    simulator.control.alter("canvas", "role_overrides", "add_column", "size", type="i32", nullable=False)
    _, required = truth(simulator, name)
    assert all(row["size"] is not None for row in required)
    _, changed = raw.rows(name, since=at)
    assert len(changed) == len(required), "every row was written again"
    simulator.control.alter("canvas", "role_overrides", "drop_column", "color")
    simulator.control.alter("canvas", "role_overrides", "add_column", "color", type="i32")
    _, again = truth(simulator, name)
    assert {row["color"] for row in again} == {None}, "it is another column of the same name"


def test_stricter_columns_rewrite_the_rows_that_do_not_fit(simulator: RunningSimulator) -> None:
    name = "canvas.content_shares"
    simulator.control.advance(tables=[name], inserts=40)
    _, before = truth(simulator, name)
    assert any(row["sender_id"] is None for row in before)
    assert any(row["read_state"] == "unread" for row in before)
    simulator.control.alter("canvas", "content_shares", "not_null", "sender_id")
    simulator.control.alter("canvas", "content_shares", "drop_enum_value", "read_state", value="unread")
    head, rows = truth(simulator, name)
    assert all(row["sender_id"] is not None for row in rows)
    assert "unread" not in {row["read_state"] for row in rows}
    (state,) = [column for column in head["columns"] if column["name"] == "read_state"]
    assert state["values"] == ["read", "__dap_unspecified__"]


@pytest.mark.parametrize(
    ("change", "column", "arguments", "sentence"),
    [
        ("explode", "url", {}, "unknown change 'explode'"),
        ("drop_column", "nothing", {}, "has no column 'nothing'"),
        ("drop_column", "id", {}, "is a key column"),
        ("widen", "url", {"type": "i32"}, "is not wider"),
        ("widen", "url", {"type": "tea"}, "'tea' is not a column type"),
        ("add_column", "url", {}, "has a column 'url' already"),
        ("add_enum_value", "url", {"value": "x"}, "is not an enumeration"),
        ("drop_enum_value", "workflow_state", {"value": "x"}, "the value 'x' is not there"),
    ],
)
def test_an_impossible_change_is_refused_with_a_sentence(
    simulator: RunningSimulator, change: str, column: str, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SimulatorError, match=sentence):
        simulator.control.alter("canvas", "wiki_pages", change, column, **arguments)
    assert simulator.control.tables()["canvas.wiki_pages"]["schema_version"] == 1


def test_tables_come_and_go(simulator: RunningSimulator, raw: RawClient) -> None:
    def listed() -> list[str]:
        return list(raw.get("/dap/query/canvas/table").json()["tables"])

    control = simulator.control
    control.add_table("canvas", "made_up", columns="*code:s20 name:text? parts:enum(a|b)[]? +stamps", rows=8)
    assert "made_up" in listed()
    _, rows = raw.rows("canvas.made_up")
    assert [row["key.code"] for row in rows][:2] == ["K-000000000", "K-000000001"]
    for table, columns in (("made_up", None), ("unknown", None), ("x", "name")):
        with pytest.raises(SimulatorError):
            control.add_table("canvas", table, columns)
    with pytest.raises(SimulatorError, match="one of the namespaces"):
        control.add_table("mastery", "x", columns="a:text")
    control.remove_table("canvas", "made_up")
    assert "made_up" not in listed()
    assert raw.data("canvas.made_up").status_code == 404
    with pytest.raises(SimulatorError, match=r"there is no table canvas\.made_up"):
        control.remove_table("canvas", "made_up")


@pytest.fixture
def hard_tables(simulator: RunningSimulator) -> Iterator[list[str]]:
    """The names of the hard tables, listed for one test."""
    names = simulator.control.add_hard_tables()
    yield names
    for name in names:
        simulator.control.remove_table(*name.split("."))


def test_hard_tables_have_rows_in_key_order(simulator: RunningSimulator, hard_tables: list[str]) -> None:
    for name in hard_tables:
        head, rows = truth(simulator, name)
        keys = [[row[column["name"]] for column in head["columns"] if column["key"]] for row in rows]
        assert keys == sorted(keys)
        assert len({tuple(key) for key in keys}) == len(rows) > 0


@pytest.mark.parametrize("table", ["hard_two_column_key", pytest.param("hard_open_object", marks=pytest.mark.slow)])
def test_the_official_client_does_not_replicate_a_hard_table(
    simulator: RunningSimulator, hard_tables: list[str], dap: Dap, table: str
) -> None:
    assert f"canvas.{table}" in hard_tables
    dap.initdb("canvas", table, check=False)
    (result,) = compare(simulator.url, dap.dsn, [f"canvas.{table}"])
    assert not result.equal


@pytest.mark.parametrize("told", [False, True])
def test_expired_rows_vanish_and_are_deletes_only_if_told(
    told: bool, simulator: RunningSimulator, raw: RawClient
) -> None:
    table = f"expiring_{told}".lower()
    name = f"canvas.{table}"
    simulator.control.add_table("canvas", table, "*id:i64 text:s50?", rows=10)
    at = raw.finished(name)["at"]
    _, before = truth(simulator, name)
    assert simulator.control.expire("canvas", table, 3, told=told) == 3
    head, after = truth(simulator, name)
    assert (after, head["rows"]) == (before[3:], len(before) - 3)
    _, changes = raw.rows(name, since=at)
    assert [row["meta.action"] for row in changes] == ["D"] * (3 if told else 0)
    # Nothing happens to rows that are gone.
    simulator.control.advance(tables=[name], updates=1.0)
    head, now = truth(simulator, name)
    assert [row["id"] for row in now] == [row["id"] for row in before[3:]]
    assert head["rows"] == len(now)
    assert simulator.control.expire("canvas", table, 1.0) == len(now)
    assert truth(simulator, name)[1] == []
