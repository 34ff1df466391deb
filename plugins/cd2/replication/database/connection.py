"""Connections to the replica: asyncpg, with libpq's meanings of sslmode and sslrootcert."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import asyncpg

from cd2.replication.errors import StopAll, TransientError
from cd2.replication.failures import in_our_words

CONNECT_TIMEOUT_S = 30
CLOSE_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 60.0
"""For a single statement on a shared connection, such as taking a turn; it takes milliseconds."""

_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
)
"""What a statement raises on a connection that the server has closed."""


@dataclass(frozen=True)
class DatabaseTarget:
    """Where the replica is and how to log in.

    :param sslmode: with libpq's meaning (the official client silently ignores it).
    :param sslrootcert: path of a PEM file with the trusted CAs, for verify-ca and verify-full.
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


async def connect(target: DatabaseTarget) -> asyncpg.Connection:
    """Open a connection.

    :raises StopAll: the login, the database name or the certificate is refused.
    :raises TransientError: the server cannot be reached or is starting.
    """
    tls = {"sslmode": target.sslmode}
    if target.sslmode.startswith("verify"):
        tls["sslrootcert"] = target.sslrootcert
    with in_our_words(f"Connecting to PostgreSQL at {target}"):
        try:
            return await asyncpg.connect(
                f"postgresql://?{urlencode(tls)}",
                host=target.host,
                port=target.port,
                database=target.dbname,
                user=target.user,
                password=target.password,
                timeout=CONNECT_TIMEOUT_S,
                server_settings={"application_name": "cd2"},
            )
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason
            raise StopAll(
                f"The certificate of PostgreSQL at {target} is not trusted: {reason}. Check that database_sslrootcert "
                "holds the authority that signed it and that the host is the name in it; sslmode=require encrypts "
                "without checking.",
                cause=type(error).__name__,
            ) from None
        except (OSError, TimeoutError) as error:
            raise TransientError(
                f"PostgreSQL at {target} cannot be reached ({str(error) or type(error).__name__}): "
                "check that it is running; check host, port, security group and sslmode.",
                cause=type(error).__name__,
            ) from None


class connected:  # noqa: N801 - reads as what it does: async with connected(target) as connection:
    """A connection that is closed at the end of the block.

    :raises StopAll, TransientError: see `connect`.
    """

    def __init__(self, target: DatabaseTarget) -> None:
        self._target = target

    async def __aenter__(self) -> asyncpg.Connection:
        """Open it."""
        self._connection = await connect(self._target)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, within `CLOSE_TIMEOUT_S` seconds."""
        await self._connection.close(timeout=CLOSE_TIMEOUT_S)


class Replica:
    """The replica as a place for single statements, such as taking a turn.

    A process with one table opens a connection for each. The triggerer, where a hundred tables wait, keeps a few open.

    :param pooled: how many connections to keep open at most; 0: none.
    """

    IDLE_S = 60.0
    """How long an unused connection stays open."""

    def __init__(self, target: DatabaseTarget, pooled: int = 0) -> None:
        self.target = target
        self._size = pooled
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def row(self, statement: str, *values: Any) -> asyncpg.Record | None:
        """Run one statement on its own; it may run twice if the connection is lost.

        :returns: its first row.
        :raises StopAll, TransientError: see `connect`.
        """
        if not self._size:
            async with connected(self.target) as connection:
                return await connection.fetchrow(statement, *values)
        pool = await self._opened()
        try:
            return await self._row(pool, statement, *values)
        except _BROKEN:
            # By a restart or a failover, maybe long ago while nobody used it; then the others are broken too.
            if self._pool is pool:
                self._pool = None
                pool.terminate()
            return await self._row(await self._opened(), statement, *values)

    async def _row(self, pool: asyncpg.Pool, statement: str, *values: Any) -> asyncpg.Record | None:
        async with asyncio.timeout(STATEMENT_TIMEOUT_S), pool.acquire() as connection:
            return await connection.fetchrow(statement, *values)

    async def close(self) -> None:
        """Close the connections that are kept open, within `CLOSE_TIMEOUT_S` seconds."""
        if self._pool is not None:
            # asyncpg waits for ever for a connection that the server has closed.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._pool.close()

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    connect=self._connect, min_size=0, max_size=self._size, max_inactive_connection_lifetime=self.IDLE_S
                )
            return self._pool

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection:
        return await connect(self.target)
