"""What a new session must be before it is used: on a server that takes writes, and without foreign time limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cd2.replication.errors import TransientError

if TYPE_CHECKING:
    import asyncpg

_BEGIN = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
READ_ONLY = "25006"


async def begin(connection: asyncpg.Connection, server: str) -> None:
    """Check a new session.

    :param server: where it is, for messages.
    :raises TransientError: the server or the session is read-only: a failover is going on, or it is the wrong host.
    """
    standby, read_only = (await connection.fetch(_BEGIN))[0]
    if standby:
        raise TransientError(
            f"PostgreSQL at {server} is a standby: a failover is going on, or the host is one for readers. It will be "
            "retried; if it lasts, use the host of the writer (of an Aurora cluster: the cluster endpoint).",
            type=READ_ONLY,
        )
    if read_only:
        raise TransientError(
            f"PostgreSQL at {server} is read-only: a failover or maintenance is going on. It will be retried; if it "
            "lasts, reset default_transaction_read_only (ALTER ROLE, ALTER DATABASE or the parameter group sets it).",
            type=READ_ONLY,
        )
