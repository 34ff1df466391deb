"""The rows of a table, from both sides in key order: which are missing, superfluous or different."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from local.compare.difference import TableDifference
from local.compare.values import expected_form, found_form

_REPR = 60


def replica_rows(
    connection: psycopg.Connection[Any], namespace: str, table: str, columns: list[dict[str, Any]]
) -> Iterator[tuple[Any, ...]]:
    """The rows of the replica, in key order as the simulator sorts them."""

    def selected(column: dict[str, Any]) -> sql.Composable:
        name = sql.Identifier(column["name"])
        if column["kind"] == "enum":
            return sql.SQL("{}::text[]" if column["array"] else "{}::text").format(name)
        return name

    def ordered(column: dict[str, Any]) -> sql.Composable:
        text = column["kind"] in ("string", "text")
        return sql.SQL('{} COLLATE "C"' if text else "{}").format(sql.Identifier(column["name"]))

    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(map(selected, columns)),
        sql.Identifier(namespace, table),
        sql.SQL(", ").join(ordered(column) for column in columns if column["key"]),
    )
    with connection.transaction(), connection.cursor(name="compare") as cursor:
        cursor.itersize = 5000
        cursor.execute(query)
        yield from cursor


def compare_rows(
    result: TableDifference,
    columns: list[dict[str, Any]],
    keys: list[int],
    expected: Iterator[tuple[Any, ...]],
    found: Iterator[tuple[Any, ...]],
) -> None:
    """Walk both streams in the order of the key."""
    true_forms = [expected_form(column) for column in columns]
    found_forms = [found_form(column) for column in columns]
    left, right = next(expected, None), next(found, None)
    while left is not None or right is not None:
        left_key = None if left is None else [true_forms[index](left[index]) for index in keys]
        right_key = None if right is None else [found_forms[index](right[index]) for index in keys]
        if right is None or (left_key is not None and right_key is not None and left_key < right_key):
            result.missing += 1
            result.example(f"key {_short(left_key)}: the row is missing")
            left = next(expected, None)
        elif left is None or left_key != right_key:
            result.superfluous += 1
            result.example(f"key {_short(right_key)}: the row is superfluous")
            right = next(found, None)
        else:
            result.rows += 1
            _compare_values(result, columns, left_key, (left, true_forms), (right, found_forms))
            left, right = next(expected, None), next(found, None)


def _compare_values(
    result: TableDifference,
    columns: list[dict[str, Any]],
    key: list[Any] | None,
    expected: tuple[tuple[Any, ...], list[Callable[[Any], Any]]],
    found: tuple[tuple[Any, ...], list[Callable[[Any], Any]]],
) -> None:
    different = False
    for column, left, left_form, right, right_form in zip(columns, *expected, *found, strict=True):
        if left is None and right is None:
            continue
        true_value = None if left is None else left_form(left)
        found_value = None if right is None else right_form(right)
        if true_value != found_value:
            different = True
            result.example(f"key {_short(key)}, {column['name']}: {_short(found_value)}, not {_short(true_value)}")
    result.changed += different


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _REPR else text[: _REPR - 3] + "..."
