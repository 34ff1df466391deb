"""Connections to the replica: asyncpg, with libpq's meanings of sslmode and sslrootcert."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlencode

import asyncpg

from cd2.replication.errors import StopAll, TransientError
from cd2.replication.failures import in_our_words

CONNECT_TIMEOUT_S = 30
CLOSE_TIMEOUT_S = 5.0


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
