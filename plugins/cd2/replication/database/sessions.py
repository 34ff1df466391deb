"""What a new session must be before it is used: ours alone, on a server that takes writes, with our own settings."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from cd2.replication.errors import StopAll, TransientError

READ_ONLY = "25006"
TIME_LIMIT = r"^(statement|lock|transaction|idle|session|query)(_\w+)?_timeout$"
"""The names of what a role, a database or a server may set, and what would end a load that is going well.

In PostgreSQL 15 to 18: statement_timeout, lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout, and
transaction_timeout since 17. What is looked for is what the server knows, so a new one needs no new version of ours.
Those of the network (tcp_user_timeout, wal_sender_timeout) end nothing that is going well.
"""
POOLER_CHECK_S = 10.0
"""How long to look how a pooler works; in session mode it may have no second session for us."""
POOLER_ROUNDS = 10
"""While others use the pooler, a connection may get the same session again by chance."""

OURS = {
    # Tables that wait for the same turn would fail with 40001.
    "default_transaction_isolation": "read committed",
    # Otherwise a backslash in a comment or a value of an enumeration is taken for an escape.
    "standard_conforming_strings": "on",
}
"""What a role, a database or a server may set otherwise, and our statements need."""

_RESET = f"""SELECT count(set_config(name, wanted, false))
FROM (
    SELECT name, '0' FROM pg_settings WHERE name ~ '{TIME_LIMIT}' AND context = 'user' AND setting <> '0'
    UNION ALL
    SELECT * FROM unnest(ARRAY{list(OURS)}, ARRAY{list(OURS.values())}) AS ours (name, wanted)
    WHERE current_setting(name) <> wanted
) AS other (name, wanted)"""
"""Every role may set what has the context `user`."""
_BEGIN = f"""
SELECT pg_backend_pid() = $1 AS direct, pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       CASE WHEN pg_backend_pid() = $1 THEN ({_RESET}) END"""
"""Resets the settings only in a session that is ours: behind a pooler it may be everybody's."""
_MARK = "SELECT pg_backend_pid() FROM set_config('cd2.session', $1, false)"
_LOOK = "SELECT pg_backend_pid(), coalesce(current_setting('cd2.session', true), '')"
_NO_STATEMENT = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What prepared statements raise behind a pooler that does not keep the session."""


async def begin(
    connection: asyncpg.Connection, server: str, open_another: Callable[[], Awaitable[asyncpg.Connection]]
) -> None:
    """Check a new session, and reset its time limits and `OURS`.

    :param server: where it is, for messages.
    :param open_another: opens a second session in the same way.
    :raises StopAll: it is behind a pooler that gives each transaction another session.
    :raises TransientError: the server or the session is read-only: a failover is in progress, or it is the wrong host.
    """
    try:
        direct, standby, read_only, _ = (await connection.fetch(_BEGIN, connection.get_server_pid()))[0]
        if not direct:
            await _check_pooler(connection, open_another)
    except (*_NO_STATEMENT, _SharedSession) as error:
        raise StopAll(
            f"PostgreSQL at {server} is reached through a connection pooler that gives each transaction another "
            "session (PgBouncer: pool_mode = transaction or statement): settings and locks would be lost. Use its "
            "session mode for this user or database, or the address of the database itself.",
            cause=type(error).__name__,
        ) from None
    if standby:
        raise TransientError(
            f"PostgreSQL at {server} is a standby: a failover is in progress, or the host is a reader. It will be "
            "retried; if it lasts, use the host of the writer (of an Aurora cluster: the cluster endpoint).",
            type=READ_ONLY,
        )
    if read_only:
        raise TransientError(
            f"PostgreSQL at {server} is read-only: a failover or maintenance is in progress. It will be retried; if it "
            "lasts, reset default_transaction_read_only (ALTER ROLE, ALTER DATABASE or the parameter group sets it).",
            type=READ_ONLY,
        )
    if not direct:
        await connection.execute(_RESET)


class _SharedSession(Exception):
    """The session is not ours alone."""


async def _check_pooler(
    connection: asyncpg.Connection, open_another: Callable[[], Awaitable[asyncpg.Connection]]
) -> None:
    """Find out whether a setting of our session stays in it, and only in it, while another one is used.

    The server's process is not the one that the connection was told, so a pooler is between us. If it has no second
    session for us now, as in session mode with a full pool, it is believed to keep the first.

    :raises _SharedSession: it does not.
    """
    another = None
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(POOLER_CHECK_S):
            try:
                another = await open_another()
                for _ in range(POOLER_ROUNDS):
                    await _compare(connection, another)
                await another.close(timeout=POOLER_CHECK_S)
            finally:
                if another is not None:
                    another.terminate()


async def _compare(connection: asyncpg.Connection, another: asyncpg.Connection) -> None:
    mark = secrets.token_hex(8)
    ours = await connection.fetchval(_MARK, mark)
    await _see(another, mark, ours, mine=False)
    try:
        await another.execute("BEGIN")  # holds a session, maybe the one that was ours
    except asyncpg.ProtocolViolationError:  # PgBouncer in statement mode
        raise _SharedSession from None
    await _see(another, mark, ours, mine=False)
    await _see(connection, mark, ours, mine=True)
    await another.execute("ROLLBACK")


async def _see(connection: asyncpg.Connection, mark: str, pid: int, *, mine: bool) -> None:
    there, seen = (await connection.fetch(_LOOK))[0]
    if (seen == mark, there == pid) != (mine, mine):
        raise _SharedSession
