"""Is a replica equal to what the simulator says is true? Every value of every column of every row of every table.

Independent of how the replica came about: typed values from the simulator on one side, what PostgreSQL hands out on the
other. Both come in the order of the key and are compared as streams.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from local.compare_values import expected_form, found_form
from local.simulator.control import SimulatorControl, SimulatorError

# Differences that are shown for a table; all are counted.
SHOWN = 5
_REPR = 60


@dataclass
class TableDifference:
    """What is different about one table; nothing when `equal`.

    :param missing, superfluous: rows that only the truth has, and that only the replica has.
    :param changed: rows with at least one different value.
    :param problems: differences of the table itself: columns, types, key, or that there is no such table.
    :param examples: the first differences of values, shortened.
    """

    table: str
    rows: int = 0
    missing: int = 0
    superfluous: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.missing or self.superfluous or self.changed or self.problems)

    def example(self, text: str) -> None:
        """Keep one of the first differences."""
        if len(self.examples) < SHOWN:
            self.examples.append(text)


def compare(simulator_url: str, dsn: str, tables: list[str] | None = None) -> list[TableDifference]:
    """Compare a replica with the truth.

    :param dsn: where the replica is (postgresql://...).
    :param tables: `namespace.table`; None: all tables of the simulator, and tables that only the replica has.
    :returns: one entry a table, equal or not.
    :raises SimulatorError: no simulator there, or it has no such table.
    :raises psycopg.Error: the database cannot be read.
    """
    control = SimulatorControl(simulator_url)
    try:
        listed = control.tables()
        wanted = sorted(listed) if tables is None else list(dict.fromkeys(tables))
        if unknown := [name for name in wanted if name not in listed]:
            raise SimulatorError(f"the simulator has no table {', '.join(unknown)}")
        with psycopg.connect(dsn) as connection:
            connection.execute("SET search_path = pg_catalog")
            connection.execute("SET timezone = 'UTC'")
            _exact_values(connection)
            results = [_compare_table(control, connection, name) for name in wanted]
            if tables is None:
                namespaces = sorted({name.split(".", 1)[0] for name in listed})
                extra = sorted(set(_replica_tables(connection, namespaces)) - set(listed))
                results += [TableDifference(name, problems=["the simulator has no such table"]) for name in extra]
        return results
    finally:
        control.close()


def _exact_values(connection: psycopg.Connection[Any]) -> None:
    """Read jsonb and timestamps in a form that loses nothing."""

    class Text(psycopg.adapt.Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode()

    # Years beyond Python's, infinity and time zones must show as differences, not as errors.
    for name in ("timestamp", "timestamptz", "date", "time", "inet", "interval"):
        connection.adapters.register_loader(name, Text)


def _replica_tables(connection: psycopg.Connection[Any], namespaces: list[str]) -> list[str]:
    query = """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY(%s)"""
    return [name for (name,) in connection.execute(query, [namespaces])]


def _compare_table(control: SimulatorControl, connection: psycopg.Connection[Any], name: str) -> TableDifference:
    result = TableDifference(name)
    namespace, _, table = name.partition(".")
    with contextlib.closing(control.truth(namespace, table)) as truth:
        head = next(truth)
        found = _replica_columns(connection, namespace, table)
        if not found:
            result.problems.append("there is no such table in the replica")
            return result
        _compare_columns(result, connection, head, found)
        shared = [(index, column) for index, column in enumerate(head["columns"]) if column["name"] in found]
        keys = [index for index, (_, column) in enumerate(shared) if column["key"]]
        if len(keys) < sum(column["key"] for column in head["columns"]):
            return result
        expected = (tuple(row[index] for index, _ in shared) for row in truth)
        described = [column for _, column in shared]
        _compare_rows(result, described, keys, expected, _replica_rows(connection, namespace, table, described))
    return result


# -- the table itself ------------------------------------------------------------------------------


def _replica_columns(connection: psycopg.Connection[Any], namespace: str, table: str) -> dict[str, tuple[str, bool]]:
    query = """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"""
    rows = connection.execute(query, [namespace, table])
    return {name: (type_name, nullable) for name, type_name, nullable in rows}


def _compare_columns(
    result: TableDifference, connection: psycopg.Connection[Any], head: dict[str, Any], found: dict[str, Any]
) -> None:
    columns = head["columns"]
    for column in columns:
        name = column["name"]
        if name not in found:
            result.problems.append(f"column {name} is missing")
            continue
        type_name, nullable = found[name]
        if type_name != column["type"]:
            result.problems.append(f"column {name} is {type_name}, not {column['type']}")
        elif column["kind"] == "enum":
            labels = _labels(connection, head["namespace"], head["table"], name)
            if labels != set(column["values"]):
                different = sorted(labels ^ set(column["values"]))
                result.problems.append(f"the values of column {name} differ in {', '.join(different)}")
        if nullable != column["nullable"]:
            result.problems.append(f"column {name} {'allows' if nullable else 'refuses'} NULL")
    surplus = sorted(set(found) - {column["name"] for column in columns})
    result.problems += [f"column {name} is superfluous" for name in surplus]
    key = _primary_key(connection, head["namespace"], head["table"])
    if key != {column["name"] for column in columns if column["key"]}:
        result.problems.append(f"the primary key is ({', '.join(sorted(key))})")


def _labels(connection: psycopg.Connection[Any], namespace: str, table: str, column: str) -> set[str]:
    query = """
        SELECT e.enumlabel FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
        JOIN pg_enum e ON e.enumtypid = CASE WHEN t.typelem <> 0 THEN t.typelem ELSE t.oid END
        WHERE n.nspname = %s AND c.relname = %s AND a.attname = %s"""
    return {label for (label,) in connection.execute(query, [namespace, table, column])}


def _primary_key(connection: psycopg.Connection[Any], namespace: str, table: str) -> set[str]:
    query = """
        SELECT a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
        WHERE i.indisprimary AND n.nspname = %s AND c.relname = %s"""
    return {name for (name,) in connection.execute(query, [namespace, table])}


# -- the rows --------------------------------------------------------------------------------------


def _replica_rows(
    connection: psycopg.Connection[Any], namespace: str, table: str, columns: list[dict[str, Any]]
) -> Iterator[tuple[Any, ...]]:
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


def _compare_rows(
    result: TableDifference,
    columns: list[dict[str, Any]],
    keys: list[int],
    expected: Iterator[tuple[Any, ...]],
    found: Iterator[tuple[Any, ...]],
) -> None:
    """Walk both streams in the order of the key."""
    true_forms = [expected_form(column) for column in columns]
    found_forms = [found_form(column) for column in columns]
    end = object()
    left, right = next(expected, end), next(found, end)
    while left is not end or right is not end:
        left_key = None if left is end else [true_forms[index](left[index]) for index in keys]
        right_key = None if right is end else [found_forms[index](right[index]) for index in keys]
        if right_key is None or (left_key is not None and left_key < right_key):
            result.missing += 1
            result.example(f"key {_short(left_key)}: the row is missing")
            left = next(expected, end)
        elif left_key is None or right_key < left_key:
            result.superfluous += 1
            result.example(f"key {_short(right_key)}: the row is superfluous")
            right = next(found, end)
        else:
            result.rows += 1
            _compare_values(result, columns, right_key, (left, true_forms), (right, found_forms))
            left, right = next(expected, end), next(found, end)


def _compare_values(
    result: TableDifference,
    columns: list[dict[str, Any]],
    key: list[Any],
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


# -- the command -----------------------------------------------------------------------------------


def report(results: list[TableDifference]) -> str:
    """A short table: a line for everything that differs, and a sum."""
    lines = []
    for result in (result for result in results if not result.equal):
        counts = (("missing", result.missing), ("superfluous", result.superfluous), ("different", result.changed))
        facts = [f"{number} {word}" for word, number in counts if number]
        lines.append(f"{result.table:<45} {', '.join(facts) or 'see below'}")
        lines += [f"    {text}" for text in (*result.problems, *result.examples)]
    rows = sum(result.rows for result in results)
    different = sum(not result.equal for result in results)
    verdict = "no difference" if not different else f"{different} of them different"
    return "\n".join([*lines, f"{len(results)} tables, {rows} rows compared: {verdict}"])


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: equal, 1: different, 2: could not be compared."""
    parser = argparse.ArgumentParser(
        prog="python -m local.compare",
        description="Compare a replica with the simulator's truth, value by value.",
        epilog="CD2_REPLICA_DSN in the environment says where the replica is (postgresql://user:password@host/db).",
    )
    parser.add_argument("--simulator", required=True, metavar="URL", help="address of the simulator")
    parser.add_argument("--tables", nargs="+", metavar="NS.TABLE", help="only these tables")
    options = parser.parse_args(arguments)
    dsn = os.environ.get("CD2_REPLICA_DSN")
    if not dsn:
        print("compare: set CD2_REPLICA_DSN to where the replica is (postgresql://...)", file=sys.stderr)
        return 2
    try:
        results = compare(options.simulator, dsn, options.tables)
    except SimulatorError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except psycopg.Error as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"compare: the replica cannot be read: {reason}", file=sys.stderr)
        return 2
    print(report(results))
    return 0 if all(result.equal for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
