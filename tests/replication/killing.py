"""What the kill tests share: a proxy that kills at a message, and holds that stop a load."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import psycopg

from tests.replication.waiting import WAIT_S

WRITES_CURSOR = b"WITH held AS (UPDATE cd2.relations"
WRITING_CURSOR = "WITH held AS (UPDATE cd2.relations%"
"""The same for `wait_until_waiting`."""

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
        self.committed = False
        """Whether PostgreSQL got the COMMIT that follows a cursor: a load's end."""
        self._has_cursor = False
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
            strikes = hit and not self.struck
            self.struck = self.struck or strikes
            if self._delivered or not self.struck:
                self._has_cursor = self._has_cursor or WRITES_CURSOR in data
                self.committed = self.committed or (self._has_cursor and b"COMMIT" in data)
            return strikes


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


def wait_until_waiting(database: str, query: str, event: str = "Lock") -> int:
    """Wait until a backend of a worker waits for a lock in a statement LIKE `query`; its pid."""
    return _wait_for(
        database,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'cd2%%' "
        "AND state = 'active' AND wait_event_type = %s AND query ILIKE %s",
        (event, query),
    )


def wait_until_gone(database: str) -> None:
    """Wait until no worker has a session any more."""
    _wait_for(
        database,
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'cd2%%')",
        (),
    )


def _wait_for(database: str, query: str, parameters: tuple[Any, ...]) -> int:
    deadline = time.monotonic() + WAIT_S
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
