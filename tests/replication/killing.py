"""What the kill tests share: a proxy that kills at a message, holds that stop a load, and the state of a replica."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psycopg
from psycopg.rows import dict_row

SCHEMAS = "('canvas', 'analytics')"


# -- killing at a message -------------------------------------------------------------------------


class KillingProxy:
    """Between a worker and PostgreSQL: SIGKILLs the worker when it sends a certain message.

    :param number: at the n-th message (1: the first of the first connection), or
    :param text: at the first message that contains this.
    :param delivered: whether PostgreSQL still gets the message; its sender is dead in any case.
    """

    def __init__(
        self, host: str, port: int, *, number: int | None = None, text: str | None = None, delivered: bool = False
    ) -> None:
        self._server = (host, port)
        self._number = number
        self._text = text.encode() if text else None
        self._delivered = delivered
        self._victim = 0
        self._known = threading.Event()
        self._lock = threading.Lock()
        self.messages = 0
        self.struck = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> KillingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._known.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def victim(self, pid: int) -> None:
        """Whom to kill; nothing goes through before this is known."""
        self._victim = pid
        self._known.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._upstream, args=(client, server), daemon=True).start()
                threading.Thread(target=_pump, args=(server, client), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            self._known.wait()
            with suppress(OSError):
                while data := client.recv(1 << 16):
                    if self._strikes(data):
                        os.kill(self._victim, signal.SIGKILL)
                        if not self._delivered:
                            break
                    server.sendall(data)
            # To close it is not enough while the other thread reads from it.
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _strikes(self, data: bytes) -> bool:
        with self._lock:
            self.messages += 1
            hit = self.messages == self._number or (self._text is not None and self._text in data)
            if not hit or self.struck:
                return False
            self.struck = True
            return True


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


# -- holding a load where it is -------------------------------------------------------------------


@contextmanager
def held(database: str, *statements: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of another session with the locks of these statements, to the end of the block or the server."""
    with psycopg.connect(database, application_name="holder") as holder:
        for statement in statements:
            holder.execute(statement)
        yield holder
        with suppress(psycopg.OperationalError):
            holder.rollback()


def wait_until_waiting(database: str, query: str, timeout: float = 30.0, event: str = "Lock") -> int:
    """Wait until a backend of a worker waits for a lock in a statement LIKE `query`; its pid."""
    return _wait_for(
        database,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'cd2%%' "
        "AND state = 'active' AND wait_event_type = %s AND query ILIKE %s",
        (event, query),
        timeout,
    )


def wait_until_gone(database: str, timeout: float = 20.0) -> float:
    """Wait until no worker has a session any more; the seconds that took."""
    started = time.monotonic()
    _wait_for(
        database,
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'cd2%%')",
        (),
        timeout,
    )
    return time.monotonic() - started


def _wait_for(database: str, query: str, parameters: tuple[Any, ...], timeout: float) -> int:
    deadline = time.monotonic() + timeout
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            row = connection.execute(query, parameters or None).fetchone()
            if row is not None:
                return int(row[0])
            if time.monotonic() > deadline:
                sessions = connection.execute(
                    "SELECT application_name, state, wait_event_type, wait_event, left(query, 300) "
                    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()
                raise AssertionError(f"this did not happen: {query} {parameters}; sessions: {sessions}")
            time.sleep(0.01)


# -- the state of a replica -----------------------------------------------------------------------

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

_BROKEN = "SELECT schema_name || '.' || view_name, definition FROM cd2.broken_dependents"

_LEFTOVERS = f"""
SELECT 'relation ' || n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'cd2' AND c.relkind IN ('r', 'v', 'm', 'S', 'f', 'p')
  AND c.relname NOT IN ('pacer', 'jobs', 'freshness', 'broken_dependents', 'broken_dependents_id_seq')
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
            rows = None
            found = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
            if found and found[0]:
                query = f"SELECT t.{key}, to_jsonb(t) FROM {table} t"
                rows = dict(connection.execute(query).fetchall())
            views = dict(connection.execute(_VIEWS).fetchall())
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
        """This is the state `before`; columns that were added or made optional and values of enumerations may be there
        already, as they commit alone."""
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
