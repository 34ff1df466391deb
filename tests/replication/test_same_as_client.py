"""The same history, loaded by the official client into one database and by us into another, gives the same."""

import random
from typing import Any

import psycopg
import pytest

from cd2.replication.names import NAMESPACES
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.client_process import client
from tests.replication.replica import assert_equal, make_replicator, run, target_of
from tests.steps import init, sync

TYPES = (
    "i64", "i32", "i16", "f64", "f32", "bool", "text", "s40", "s255", "ts", "date", "uuid", "json", "ip", "num(6,2)",
    "enum(red|green|blue)", "text[]", "i64[]",
)  # fmt: skip
WIDER = {"s40": "s200", "s255": "text", "i16": "i32", "i32": "i64"}

# What is in a schema, by names instead of oids.
CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attnum - (SELECT count(*) FROM pg_attribute d WHERE d.attrelid = c.oid AND d.attisdropped
               AND d.attnum < a.attnum AND d.attnum > 0) AS place, a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'canvas'::regnamespace AND c.relkind IN ('r', 'v', 'm') ORDER BY 1, 2""",
    "tables": """
        SELECT relname, relkind, relpersistence, obj_description(oid, 'pg_class') FROM pg_class
        WHERE relnamespace = 'canvas'::regnamespace ORDER BY 1""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), convalidated FROM pg_constraint
        WHERE connamespace = 'canvas'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'canvas' ORDER BY 1, 2",
    "enumerations": """
        SELECT t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_type t
        JOIN pg_enum e ON e.enumtypid = t.oid WHERE t.typnamespace = 'canvas'::regnamespace AND EXISTS (
            SELECT FROM pg_attribute a WHERE a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped)
        GROUP BY 1 ORDER BY 1""",
    "cursors": """
        SELECT source_namespace, source_table, timestamp, schema_version, target_schema, target_table,
               schema_description_format, schema_description FROM instructure_dap.table_sync ORDER BY 1, 2""",
    "version": "SELECT version FROM instructure_dap.database_version",
}


@pytest.fixture
def databases(empty_database: str, database: str) -> tuple[str, str]:
    """The official client's, which is empty, and ours."""
    return empty_database, database


def contents(dsn: str, tables: list[str]) -> dict[str, Any]:
    """Everything that is to be the same."""
    with psycopg.connect(dsn) as connection:
        found: dict[str, Any] = {name: connection.execute(query).fetchall() for name, query in CATALOGUE.items()}
        for table in tables:
            query = f"SELECT t::text FROM canvas.{table} t ORDER BY 1"
            found[table] = sorted(_as_the_client(row[0]) for row in connection.execute(query).fetchall())
    return found


def _as_the_client(row: str) -> str:
    """The client makes infinities of the first and the last day that Python knows."""
    for day, infinite in (("0001-01-01", "-infinity"), ("9999-12-31", "infinity")):
        row = row.replace(f'"{day} 00:00:00"', infinite).replace(day, infinite)
    return row


class History:
    """Random changes of a few tables, all of them such that the client can follow."""

    def __init__(self, simulator: SimulatorControl, seed: int) -> None:
        self._simulator = simulator
        self._random = random.Random(seed)
        self._columns: dict[str, dict[str, str]] = {}
        self._number = 0
        for number in range(2):
            name = f"history_{seed}_{number}"
            columns = {self._new_name(): self._random.choice(TYPES) for _ in range(self._random.randint(3, 12))}
            written = " ".join(f"{column}:{kind}{self._random.choice(('', '?'))}" for column, kind in columns.items())
            simulator.add_table("canvas", name, written, rows=self._random.choice((0, 3, 60)))
            self._columns[name] = columns

    @property
    def tables(self) -> list[str]:
        return list(self._columns)

    def go_on(self) -> str:
        """Change schemas and rows; returns what was done, for the message of a failing test."""
        done = []
        for table in self.tables:
            for _ in range(self._random.randint(0, 3)):
                done.append(f"{table}: {self._alter(table)}")
            fraction = self._random.choice((0.0, 0.3, 0.9))
            self._simulator.advance(fraction, [f"canvas.{table}"])
            done.append(f"{table}: advanced by {fraction}")
        return "\n".join(done)

    def _new_name(self) -> str:
        self._number += 1
        return f"c{self._number}"

    def _alter(self, table: str) -> str:
        columns = self._columns[table]
        change = self._random.choice(("add_column", "drop_column", "widen", "nullable", "add_enum_value", "comment"))
        fitting = {
            "widen": [name for name, kind in columns.items() if kind in WIDER],
            "add_enum_value": [name for name, kind in columns.items() if kind.startswith("enum")],
        }.get(change, list(columns))
        if change == "add_column":
            column, kind = self._new_name(), self._random.choice(TYPES)
            self._simulator.alter("canvas", table, change, column, type=kind, backfill=self._random.random() < 0.5)
            columns[column] = kind
            return f"{change} {column} {kind}"
        if not fitting or (change == "drop_column" and len(columns) < 3):
            return f"no {change}"
        column = self._random.choice(fitting)
        arguments: dict[str, Any] = {}
        if change == "widen":
            columns[column] = arguments["type"] = WIDER[columns[column]]
        elif change == "add_enum_value":
            arguments["value"] = f"value_{self._new_name()}"
        elif change == "comment":
            arguments["text"] = f'It\'s {self._new_name()}, \\ said "somebody".'
        elif change == "drop_column":
            del columns[column]
        self._simulator.alter("canvas", table, change, column, **arguments)
        return f"{change} {column} {arguments}"


def assert_same_history(simulator: SimulatorControl, databases: tuple[str, str], seed: int, steps: int) -> None:
    theirs, ours = databases
    replicator = make_replicator(simulator, target_of(ours))
    history = History(simulator, seed)
    client(simulator.base_url, theirs, "initdb", "canvas", *history.tables)
    for table in history.tables:
        run(init(replicator, f"canvas.{table}"))
    done = "init"
    for step in range(steps + 1):
        expected, found = contents(theirs, history.tables), contents(ours, history.tables)
        for name, value in expected.items():
            assert found[name] == value, f"seed {seed}, step {step}: {name} differ after\n{done}"
        if step < steps:
            done = history.go_on()
            client(simulator.base_url, theirs, "syncdb", "canvas", *history.tables)
            for table in history.tables:
                run(sync(replicator, f"canvas.{table}"))
    assert_equal(simulator, ours, *(f"canvas.{table}" for table in history.tables))


@pytest.mark.parametrize("seed", range(2))
def test_random_histories_lead_to_the_same_tables_types_comments_and_cursors(
    simulator: SimulatorControl, databases: tuple[str, str], seed: int
) -> None:
    assert_same_history(simulator, databases, seed, steps=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 9))
def test_many_random_histories_lead_to_the_same(
    simulator: SimulatorControl, databases: tuple[str, str], seed: int
) -> None:
    assert_same_history(simulator, databases, seed, steps=5)


def test_a_table_passes_from_the_client_to_us_and_back(simulator: SimulatorControl, databases: tuple[str, str]) -> None:
    """Each goes on from what the other left, schema changes included."""
    dsn = databases[1]
    replicator: Replicator = make_replicator(simulator, target_of(dsn))
    tables = ["accounts", "rubrics"]
    names = [f"canvas.{table}" for table in tables]
    client(simulator.base_url, dsn, "initdb", "canvas", "accounts")
    run(init(replicator, "canvas.rubrics"))
    for turn in range(3):
        simulator.advance(0.4, names)
        for table in tables:
            simulator.alter("canvas", table, "add_column", f"turn_{turn}", type="s20")
        if turn % 2:
            client(simulator.base_url, dsn, "syncdb", "canvas", *tables)
        else:
            for table in tables:
                assert run(sync(replicator, f"canvas.{table}")).state == "complete_with_schema_update"
        assert_equal(simulator, dsn, *names)


@pytest.mark.slow
def test_every_table_of_the_catalogue_is_the_same_and_many_pass_from_us_to_the_client_and_back(
    simulator: SimulatorControl, databases: tuple[str, str]
) -> None:
    theirs, ours = databases
    replicator = make_replicator(simulator, target_of(ours))
    tables = {namespace: [name.table for name in run(replicator.list_tables(namespace))] for namespace in NAMESPACES}
    names = [f"{namespace}.{table}" for namespace in NAMESPACES for table in tables[namespace]]
    for namespace in NAMESPACES:
        client(simulator.base_url, theirs, "initdb", namespace, *tables[namespace])
    for name in names:
        run(init(replicator, name))
    for database in databases:
        assert_equal(simulator, database, *names)
    expected, found = contents(theirs, tables["canvas"]), contents(ours, tables["canvas"])
    for name, value in expected.items():
        assert found[name] == value, name

    passing = names[::3]
    simulator.advance(0.2, passing)
    for namespace in NAMESPACES:
        chosen = [table for table in tables[namespace] if f"{namespace}.{table}" in passing]
        client(simulator.base_url, ours, "syncdb", namespace, *chosen)
    assert_equal(simulator, ours, *names)
    simulator.advance(0.2, passing)
    for name in passing:
        assert run(sync(replicator, name)).state == "complete"
    assert_equal(simulator, ours, *names)
