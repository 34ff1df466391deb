"""All that is committed about a table and what hangs on it, read at once: old and new states are compared by it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from cd2.replication.bookkeeping.tables import CREATE_TABLES

SCHEMAS = "('canvas', 'analytics')"

_COLUMNS = f"""
SELECT n.nspname || '.' || c.relname || '.' || a.attname,
       ARRAY[format_type(a.atttypid, a.atttypmod), a.attnotnull::text]
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN {SCHEMAS} AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped"""

_LABELS = f"""
SELECT n.nspname || '.' || t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname IN {SCHEMAS} GROUP BY 1"""

_CONSTRAINTS = f"""
SELECT conrelid::regclass::text || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace::regnamespace::text IN {SCHEMAS}"""

_VIEWS = f"""
SELECT n.nspname || '.' || c.relname, jsonb_build_array(
    c.relkind, pg_get_userbyid(c.relowner), pg_get_viewdef(c.oid), c.reloptions::text, c.relispopulated,
    obj_description(c.oid, 'pg_class'),
    (SELECT jsonb_agg(a::text ORDER BY a::text) FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) a),
    (SELECT jsonb_agg(jsonb_build_array(a.attname, a.attacl::text, col_description(c.oid, a.attnum)) ORDER BY a.attnum)
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
    (SELECT jsonb_agg(pg_get_indexdef(i.indexrelid) ORDER BY 1) FROM pg_index i WHERE i.indrelid = c.oid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN {SCHEMAS} AND c.relkind IN ('v', 'm')"""

OUR_TABLES = re.findall(r"CREATE (?:TABLE|OR REPLACE VIEW) (?:IF NOT EXISTS )?cd2\.(\w+)", "".join(CREATE_TABLES))
OURS = ", ".join(f"'{name}'" for name in (*OUR_TABLES, "broken_dependents_id_seq"))
_BROKEN = "SELECT schema_name || '.' || view_name, definition FROM cd2.broken_dependents"

_LEFTOVERS = f"""
SELECT 'relation ' || n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'cd2' AND c.relkind IN ('r', 'v', 'm', 'S', 'f', 'p')
  AND c.relname NOT IN ({OURS})
UNION ALL
SELECT 'type ' || t.oid::regtype FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname IN ('cd2', {SCHEMAS[1:-1]}) AND t.typtype IN ('e', 'd')
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped)
UNION ALL
SELECT 'schema ' || nspname FROM pg_namespace
WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('information_schema', 'public', 'cd2', 'instructure_dap',
      'canvas', 'canvas_logs', 'catalog', 'new_quizzes', 'analytics')"""


_BOOKKEEPING = """
SELECT source_namespace || '.' || source_table AS name, timestamp AS cursor, data_as_of AT TIME ZONE 'UTC' AS fresh,
    EXISTS (SELECT FROM cd2.jobs j WHERE (j.namespace, j.table_name) = (source_namespace, source_table)) AS job
FROM instructure_dap.table_sync LEFT JOIN cd2.freshness ON (namespace, table_name) = (source_namespace, source_table)
WHERE source_namespace || '.' || source_table = %s"""


def assert_tidy(database: str, table: str) -> None:
    """After a load: `cd2.freshness` tells of the cursor's state, and the job that brought it is not kept."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        row = connection.execute(_BOOKKEEPING, [table]).fetchone()
    assert row is not None
    assert_same("freshness", row["fresh"], row["cursor"])
    assert_same("job that is loaded but kept", row["job"], False)


def assert_same(what: str, found: Any, expected: Any) -> None:
    """Two states of something are the same; says what differs (pytest explains asserts in test modules only)."""
    if found != expected:
        if isinstance(found, dict) and isinstance(expected, dict):
            keys = found.keys() | expected.keys()
            differing = {
                key: (found.get(key), expected.get(key)) for key in keys if found.get(key) != expected.get(key)
            }
            raise AssertionError(f"{what}: (found, expected) {differing}")
        raise AssertionError(f"{what}: found {found}, expected {expected}")


@dataclass(frozen=True)
class Replica:
    """All that is committed about a table and what hangs on it.

    :param rows: by key; None: there is no table.
    :param cursor: the table's rows in `instructure_dap.table_sync`.
    :param columns: by qualified name: type, and whether it is required.
    :param views: by qualified name: kind, owner, rights, definition, options, comments, indexes.
    :param contents: rows of the materialized views.
    """

    rows: dict[Any, dict[str, Any]] | None
    cursor: list[dict[str, Any]]
    columns: dict[str, list[str]]
    labels: dict[str, list[str]]
    constraints: dict[str, str]
    views: dict[str, Any]
    contents: dict[str, list[Any]]
    broken: dict[str, Any]

    @classmethod
    def read(cls, database: str, table: str, key: str = "id") -> Replica:
        """The state now. Fails if there is anything that nobody would ever remove."""
        with psycopg.connect(database) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            leftovers = [name for (name,) in connection.execute(_LEFTOVERS)]
            assert_same("leftovers", leftovers, [])
            rows: dict[Any, dict[str, Any]] | None = None
            found = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
            if found and found[0]:
                query = f"SELECT t.{key}, to_jsonb(t) FROM {table} t"
                rows = dict(connection.execute(query).fetchall())
            views: dict[str, Any] = dict(connection.execute(_VIEWS).fetchall())
            stored = [name for name, view in views.items() if view[0] == "m" and view[4]]
            cursor = connection.cursor(row_factory=dict_row)
            return cls(
                rows,
                cursor.execute(
                    "SELECT source_namespace, source_table, timestamp, schema_version, schema_description, "
                    "target_schema, target_table, schema_description_format FROM instructure_dap.table_sync "
                    "WHERE source_namespace || '.' || source_table = %s",
                    [table],
                ).fetchall(),
                dict(connection.execute(_COLUMNS).fetchall()),
                dict(connection.execute(_LABELS).fetchall()),
                dict(connection.execute(_CONSTRAINTS).fetchall()),
                views,
                {
                    name: [row for (row,) in connection.execute(f"SELECT to_jsonb(m) FROM {name} m ORDER BY m::text")]
                    for name in stored
                },
                dict(connection.execute(_BROKEN).fetchall()),
            )

    def assert_still(self, before: Replica, table: str) -> None:
        """This is the state `before`.

        Columns that were added or made optional and values of enumerations may be there already, as they commit alone.
        """
        for part in ("cursor", "constraints", "views", "contents", "broken"):
            assert_same(part, getattr(self, part), getattr(before, part))
        for name, (kind, required) in before.columns.items():
            assert_same(
                name, self.columns.get(name), [kind, required if required == self.columns[name][1] else "false"]
            )
        new = self.columns.keys() - before.columns.keys()
        assert_same("new columns that are required", [name for name in new if self.columns[name][1] != "false"], [])
        assert_same("new columns elsewhere", [name for name in new if not name.startswith(f"{table}.")], [])
        lost = {name: set(labels) - set(self.labels.get(name, ())) for name, labels in before.labels.items()}
        assert_same("lost values of enumerations", {name: values for name, values in lost.items() if values}, {})
        if before.rows is None:
            assert_same("state without the table", self, before)
            return
        empty = dict.fromkeys(name.rpartition(".")[2] for name in new)
        assert_same("rows", self.rows, {key: row | empty for key, row in before.rows.items()})
