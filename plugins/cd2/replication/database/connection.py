"""Connections to the replica: asyncpg, with libpq's meanings of sslmode and sslrootcert."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import asyncpg

from cd2.replication.database import sessions
from cd2.replication.errors import Cd2Error, StopAll, TransientError
from cd2.replication.failures import in_our_words
from cd2.replication.sqlerrors.quoting import quoted, raised_by_code

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 30.0
CONNECT_PATIENCE_S = 120.0
"""How long to try: a failover or a restart takes a minute, a paused Aurora needs 15 to 60 s."""
CONNECT_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between two tries; the last one is repeated."""
CLOSE_TIMEOUT_S = 5.0
SYSTEM_AUTHORITIES = "system"
"""In place of a file, as for libpq: the authorities that the machine trusts."""
STATEMENT_TIMEOUT_S = 60.0
"""For a single statement on a shared connection, such as taking a turn; it takes milliseconds."""

_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
)
"""What a statement raises on a connection that the server has closed, or while it shuts down or fails over."""


@dataclass(frozen=True)
class DatabaseTarget:
    """Where the replica is and how to log in.

    :param sslmode: with libpq's meaning (the official client silently ignores it).
    :param sslrootcert: path of a PEM file with the trusted CAs, for verify-ca and verify-full; `system`: those that
        the machine trusts.
    """

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    sslrootcert: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.dbname} (sslmode {self.sslmode})"


async def connect(target: DatabaseTarget, patience_s: float | None = None) -> asyncpg.Connection:
    """Open a connection to a server that takes writes.

    While the server cannot be reached, wakes up, starts or fails over, this tries again, each time anew.

    :param patience_s: for how many seconds; None: `CONNECT_PATIENCE_S`.
    :raises StopAll: the password, the database name or the certificate is refused.
    :raises TransientError: the server cannot be reached, accepts no logins or is read-only, and it lasts.
    """
    until = time.monotonic() + (CONNECT_PATIENCE_S if patience_s is None else patience_s)
    tries = 0
    while True:
        try:
            return await _open(target)
        except TransientError as failure:
            pause = CONNECT_PAUSES_S[min(tries, len(CONNECT_PAUSES_S) - 1)]
            left = until - time.monotonic()
            if left < pause:
                raise
            if tries == 0:
                log.warning("%s (Trying again for up to %.0f s.)", failure.message, left)
        await asyncio.sleep(pause)
        tries += 1


async def _open(target: DatabaseTarget) -> asyncpg.Connection:
    from_file = target.sslmode.startswith("verify") and target.sslrootcert != SYSTEM_AUTHORITIES
    if from_file and not os.access(target.sslrootcert, os.R_OK):
        raise StopAll(
            f"The file {target.sslrootcert}, whose authorities PostgreSQL's certificate is checked against, cannot be "
            "read: correct database_sslrootcert, or leave it empty for the RDS bundle."
        )
    connection: asyncpg.Connection | None = None
    with in_our_words(f"Connecting to PostgreSQL at {target}"):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await _connected(target)
                await sessions.begin(connection, str(target), lambda: _connected(target))
                return connection
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if failure := _unreachable(target, error):
                raise failure from None
            raise


async def _connected(target: DatabaseTarget) -> asyncpg.Connection:
    tls, context = {"sslmode": target.sslmode}, None
    if target.sslmode.startswith("verify"):
        if target.sslrootcert == SYSTEM_AUTHORITIES:
            # asyncpg knows files only.
            context = ssl.create_default_context()
            context.check_hostname = target.sslmode == "verify-full"
        else:
            tls["sslrootcert"] = target.sslrootcert
    connection: asyncpg.Connection = await asyncpg.connect(
        f"postgresql://?{urlencode(tls)}",
        host=target.host,
        port=target.port,
        database=target.dbname,
        user=target.user,
        password=target.password,
        ssl=context,
        timeout=CONNECT_TIMEOUT_S,
        server_settings={"application_name": "cd2"},
    )
    return connection


def _unreachable(target: DatabaseTarget, error: BaseException) -> Cd2Error | None:
    """What a failure to connect means that is not, or not only, an error of PostgreSQL."""
    cause = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or error.reason
        return StopAll(
            f"The certificate of PostgreSQL at {target} is not trusted: {reason}. Check that database_sslrootcert "
            "holds the authority that signed it and that the host is the name in it; sslmode=require encrypts "
            "without checking.",
            cause=cause,
        )
    if isinstance(error, OSError | TimeoutError):
        return TransientError(
            f"PostgreSQL at {target} cannot be reached ({str(error) or cause}): "
            "check that it is running; check host, port, security group and sslmode.",
            cause=cause,
        )
    if isinstance(error, asyncpg.ObjectNotInPrerequisiteStateError) and not raised_by_code(error):
        return TransientError(
            f"The database accepts no connections now ({quoted(error) or cause}): it will be retried. If it lasts, "
            f"check ALTER DATABASE ... ALLOW_CONNECTIONS. This is PostgreSQL at {target}.",
            cause=cause,
            type=error.sqlstate,
        )
    return None


class connected:  # noqa: N801 - reads as what it does: async with connected(target) as connection:
    """A connection that is closed at the end of the block.

    :param patience_s: see `connect`.
    :raises StopAll, TransientError: see `connect`.
    """

    def __init__(self, target: DatabaseTarget, patience_s: float | None = None) -> None:
        self._target = target
        self._patience_s = patience_s

    async def __aenter__(self) -> asyncpg.Connection:
        """Open it."""
        self._connection = await connect(self._target, self._patience_s)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, within `CLOSE_TIMEOUT_S` seconds."""
        await self._connection.close(timeout=CLOSE_TIMEOUT_S)


class Replica:
    """The replica as a place for single statements, such as taking a turn.

    A process with one table opens a connection for each. The triggerer, where a hundred tables wait, keeps a few open:
    here, because asyncpg's pool loses places for good if connections end while it renews them (seen with 0.31).

    :param pooled: how many connections to keep open at most; 0: none.
    """

    IDLE_S = 60.0
    """How long an unused connection stays open."""

    def __init__(self, target: DatabaseTarget, pooled: int = 0) -> None:
        self.target = target
        self._places = asyncio.Semaphore(pooled) if pooled else None
        self._idle: dict[asyncpg.Connection, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    async def row(self, statement: str, *values: Any) -> asyncpg.Record | None:
        """Run one statement on its own; it may run again, on a new connection, if that is lost or read-only.

        :returns: its first row.
        :raises StopAll, TransientError: see `connect`.
        """
        until = time.monotonic() + CONNECT_PATIENCE_S
        tries = 0
        while True:
            try:
                if self._places is None:
                    async with connected(self.target) as connection:
                        return await _first_row(connection, statement, *values)
                async with self._places:
                    return await self._row(statement, *values)
            except _BROKEN:
                # The first time at once: `connect` waits for the server.
                pause = CONNECT_PAUSES_S[min(tries, len(CONNECT_PAUSES_S)) - 1] if tries else 0.0
                if until - time.monotonic() < pause:
                    raise
            await asyncio.sleep(pause)
            tries += 1

    async def close(self) -> None:
        """Close the connections that are kept open, within `CLOSE_TIMEOUT_S` seconds."""
        self._close_idle()
        await asyncio.gather(*self._closing)

    async def _row(self, statement: str, *values: Any) -> asyncpg.Record | None:
        if self._idle:
            shared, timer = self._idle.popitem()
            timer.cancel()
        else:
            shared = await self._connect()
        try:
            row = await _first_row(shared, statement, *values)
        except _BROKEN:
            # By a restart or a failover, maybe long ago while nobody used it; then the others are broken too.
            shared.terminate()
            self._close_idle()
            raise
        except BaseException:
            # Cancelled, perhaps: nobody knows what it still answers.
            shared.terminate()
            raise
        self._idle[shared] = asyncio.get_running_loop().call_later(self.IDLE_S, self._close_one, shared)
        return row

    async def _connect(self) -> asyncpg.Connection:
        # Tables queue for the few connections: only the first that finds the server away is patient.
        patience_s = 0.0 if time.monotonic() < self._away_until else None
        try:
            return await connect(self.target, patience_s)
        except TransientError:
            self._away_until = time.monotonic() + CONNECT_PATIENCE_S
            raise

    def _close_idle(self) -> None:
        for connection in tuple(self._idle):
            self._close_one(connection)

    def _close_one(self, connection: asyncpg.Connection) -> None:
        self._idle.pop(connection).cancel()
        task = asyncio.get_running_loop().create_task(_closed(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _first_row(connection: asyncpg.Connection, statement: str, *values: Any) -> asyncpg.Record | None:
    async with asyncio.timeout(STATEMENT_TIMEOUT_S):
        return await connection.fetchrow(statement, *values)


async def _closed(connection: asyncpg.Connection) -> None:
    """Close a connection that the server may have closed long ago."""
    try:
        await connection.close(timeout=CLOSE_TIMEOUT_S)
    except (*_BROKEN, asyncpg.PostgresError):
        connection.terminate()
