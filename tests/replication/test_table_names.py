"""The name of a table is read once, and refused with a sentence if it is none."""

from __future__ import annotations

import pytest

from cd2.replication.names import NAMESPACES, TableName, quote_identifier


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_name_is_read_and_written_alike(namespace: str) -> None:
    name = TableName.parse(f"{namespace}.web_logs")
    assert name == TableName(namespace, "web_logs")
    assert str(name) == f"{namespace}.web_logs"


@pytest.mark.parametrize("text", ["", ".", "users", "canvas.", ".users", "canvas users"])
def test_what_is_no_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write namespace\.table, for example canvas\.users") as caught:
        TableName.parse(text)
    assert repr(text) in str(caught.value)


def test_a_name_is_quoted_for_sql_whatever_characters_it_has() -> None:
    assert TableName("canvas", "users").quoted == '"canvas"."users"'
    assert TableName("canvas", 'o"dd').quoted == '"canvas"."o""dd"'
    assert quote_identifier('"') == '""""'


def test_names_are_sorted_by_namespace_and_table() -> None:
    names = [TableName("catalog", "a"), TableName("canvas", "b"), TableName("canvas", "a")]
    assert [str(name) for name in sorted(names)] == ["canvas.a", "canvas.b", "catalog.a"]
