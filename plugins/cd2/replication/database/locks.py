"""The lock of a table: without it, two overlapping syncs could leave deleted rows behind forever."""

from __future__ import annotations

import contextlib
from types import TracebackType

import asyncpg

from cd2.replication.errors import TransientError
from cd2.replication.names import TableName

TABLE_LOCK = 0x636432
"""First half of a table's advisory lock; the second half is a hash of its name."""
LOCK_WAIT_S = 300
"""How long a load waits for the lock of its table, and for any other lock that has no limit of its own."""

_HOLDER = """
SELECT format('session %s (%s%s, since %s)', pid, coalesce(nullif(application_name, ''), 'unnamed'),
              coalesce(' from ' || host(client_addr), ''), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND pg_stat_activity.datname = current_database()
  AND classid = $1 AND objid = hashtext($2)::bigint & 4294967295 AND objsubid = 2"""


class table_lock:  # noqa: N801 - reads as what it does: async with table_lock(connection, table):
    """Holds a table's lock during the block, in a session that is configured for a load.

    :param wait_s: how long to wait for the lock, in seconds.
    """

    def __init__(self, connection: asyncpg.Connection, table: TableName, wait_s: float = LOCK_WAIT_S) -> None:
        self._connection = connection
        self._table = table
        self._wait_s = wait_s

    async def __aenter__(self) -> None:
        """Take the lock.

        :raises TransientError: another session, which it names, holds the lock for longer than `wait_s` seconds.
        """
        await _configure(self._connection, self._table, self._wait_s)
        try:
            await self._connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", TABLE_LOCK, str(self._table))
        except asyncpg.LockNotAvailableError:
            holder = await self._connection.fetchval(_HOLDER, TABLE_LOCK, str(self._table))
            raise TransientError(
                f"{self._table}: {holder or 'a session that has just ended'} has been working on this table for "
                f"{self._wait_s:.0f} s; it will be retried. If no run is active, end that session with "
                "pg_terminate_backend."
            ) from None
        await self._connection.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; it ends with the connection at the latest."""
        # A broken connection no longer holds the lock.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._connection.execute("SELECT pg_advisory_unlock($1, hashtext($2))", TABLE_LOCK, str(self._table))


async def _configure(connection: asyncpg.Connection, table: TableName, wait_s: float) -> None:
    """Configure a session for a load: long statements are expected, and the end of its process must be noticed.

    Without row_security, PostgreSQL raises an error where it would hide rows from us.
    """
    await connection.execute(
        "SELECT set_config('application_name', left('cd2 ' || $1, 63), false), "
        "set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false), "
        "set_config('row_security', 'off', false), set_config('lock_timeout', $2, false)",
        str(table),
        f"{int(wait_s * 1000)}ms",
    )
    # PostgreSQL 14 and newer: stops a statement whose client was killed.
    with contextlib.suppress(asyncpg.PostgresError):
        await connection.execute("SET client_connection_check_interval = '5s'")
