"""Tables of the truth and of the replica: whether they are there, their columns, types and keys."""

import contextlib
import re
from typing import Any

import psycopg

from local.compare.difference import ABSENT, TableDifference
from local.compare.rows import compare_rows, replica_rows
from local.simulator.control import SimulatorControl, SimulatorError


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
            result.problems.append(ABSENT)
            return result
        _compare_columns(result, connection, head, found)
        shared = [(index, column) for index, column in enumerate(head["columns"]) if column["name"] in found]
        keys = [index for index, (_, column) in enumerate(shared) if column["key"]]
        if len(keys) < sum(column["key"] for column in head["columns"]):
            return result
        expected = (tuple(row[index] for index, _ in shared) for row in truth)
        described = [column for _, column in shared]
        compare_rows(result, described, keys, expected, replica_rows(connection, namespace, table, described))
    return result


_OTHER_NAME = re.compile(r"_[0-9a-f]{8}$")

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
        if not _is_type(type_name, column):
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


def _is_type(found: str, column: dict[str, Any]) -> bool:
    """An enumeration whose name something else had already ends in a hash."""
    wanted: str = column["type"]
    if found == wanted or column["kind"] != "enum" or found.endswith("[]") != wanted.endswith("[]"):
        return found == wanted
    cut = _OTHER_NAME.sub("", found.removesuffix("[]"))
    return cut != found.removesuffix("[]") and wanted.startswith(cut)


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
