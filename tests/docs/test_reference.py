"""docs/reference.md says what the code does: names, fields, states, columns."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import get_args

import psycopg
from airflow.dag_processing.dagbag import DagBag

from cd2.notification.status import status_of
from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import NAMESPACES, TableName
from cd2.replication.results import GOOD_STATES, Action, State, TableResult
from tests.docs.markdown import REPOSITORY, tables

REFERENCE = REPOSITORY / "docs" / "reference.md"
TABLES = tables(REFERENCE)


def first_column(*header: str) -> list[str]:
    """The names in the first column of the table with this header."""
    return [name for row in TABLES[header] for name in re.findall(r"`([^`]+)`", row[0])]


def test_the_task_ids_are_those_of_the_dag() -> None:
    dag = DagBag(REPOSITORY / "dags").dags["canvas_data_2"]
    documented = first_column("task id", "what it does", "its `return_value` in XCom")
    assert sorted(documented) == sorted(dag.task_ids)


def test_the_fields_of_a_result_are_those_of_its_json() -> None:
    failed = TableResult(TableName("canvas", "users"), "sync", "failed", error=ErrorInfo("A", "b", "c", "d"))
    fields = failed.to_json()
    assert first_column("field", "type", "meaning") == list(fields)
    assert first_column("field of `error`", "meaning") == list(fields["error"])
    (dependents,) = [row[2] for row in TABLES["field", "type", "meaning"] if row[0] == "`dependents`"]
    assert re.findall(r"`(\w+)`", dependents) == list(fields["dependents"])
    (namespaces,) = [row[2] for row in TABLES["field", "type", "meaning"] if row[0] == "`namespace`"]
    assert re.findall(r"`(\w+)`", namespaces) == list(NAMESPACES)


def test_the_fields_of_the_status_are_those_of_its_json() -> None:
    changed = TableResult(TableName("canvas", "users"), "sync", "complete_with_schema_update")
    now = datetime.now(UTC)
    status = status_of(RunSummary("dev", "run", now, now, (changed,)), {})
    assert first_column("field of the status", "type", "meaning") == list(status)
    assert first_column("field of a table's status", "type", "meaning") == list(status["tables"][0])
    (said,) = [row[2] for row in TABLES["field of the status", "type", "meaning"] if row[0] == "`schema_changes`"]
    assert re.findall(r"`(\w+)`", said)[: len(status["schema_changes"][0])] == list(status["schema_changes"][0])


def test_actions_and_states_are_those_of_the_code() -> None:
    assert first_column("action", "meaning") == list(get_args(Action))
    rows = TABLES["state", "meaning", "at the end of a run"]
    assert [row[0].strip("`") for row in rows] == list(get_args(State))
    assert [row[0].strip("`") for row in rows if row[2] == "good"] == list(GOOD_STATES)


def test_the_tables_of_cd2_have_the_documented_columns(prepared_database: str) -> None:
    documented = documented_columns()
    assert documented
    with psycopg.connect(prepared_database) as connection:
        found = connection.execute(
            "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'cd2'::regnamespace "
            "AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum"
        ).fetchall()
    short = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp"}
    actual: dict[str, list[tuple[str, str | None]]] = {}
    for table, column, kind in found:
        element = kind.removesuffix("[]")
        actual.setdefault(table, []).append((column, short.get(element, element) + kind[len(element) :]))
    assert documented == actual


def test_the_clients_bookkeeping_has_the_documented_columns(prepared_database: str) -> None:
    rows = TABLES["table", "columns"]
    documented = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows}
    with psycopg.connect(prepared_database) as connection:
        actual = {
            table: [column.name for column in connection.execute(f"SELECT * FROM {table}".encode()).description or ()]
            for table in documented
        }
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'instructure_dap'::regnamespace AND relkind = 'r'"
        ).fetchall()
    assert documented == actual
    assert sorted(documented) == sorted(f"instructure_dap.{name}" for (name,) in names)


def documented_columns() -> dict[str, list[tuple[str, str]]]:
    """Columns and types below each heading `### cd2.NAME`."""
    found = {}
    for section in re.split(r"(?m)^### ", REFERENCE.read_text())[1:]:
        name = section.split("\n", 1)[0]
        if name.startswith("cd2."):
            found[name] = re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \|", section)
    return found
