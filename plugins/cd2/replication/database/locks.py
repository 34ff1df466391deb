"""The lock of a table: two overlapping syncs could leave deleted rows for ever."""

from __future__ import annotations

import contextlib
from types import TracebackType

import asyncpg

from cd2.replication.errors import TransientError
from cd2.replication.names import TableName

TABLE_LOCK = 0x636432
"""First half of the advisory lock of a table; the second is a hash of its name."""
LOCK_WAIT_S = 300
"""How long a load waits for the lock of its table, and for any other lock that has no limit of its own."""

_HOLDER = """
SELECT format('session %s (%s%s, since %s)', pid, coalesce(nullif(application_name, ''), 'without a name'),
              coalesce(' from ' || host(client_addr), ''), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND pg_stat_activity.datname = current_database()
  AND classid = $1 AND objid = hashtext($2)::bigint & 4294967295 AND objsubid = 2"""


class table_lock:  # noqa: N801 - reads as what it does: async with table_lock(connection, table):
    """Holds a table's lock during the block, on a session that is set up for a load.

    :param wait_s: how long to wait for it, in seconds.
    """

    def __init__(self, connection: asyncpg.Connection, table: TableName, wait_s: float = LOCK_WAIT_S) -> None:
        self._connection = connection
        self._table = table
        self._wait_s = wait_s

    async def __aenter__(self) -> None:
        """Take the lock.

        :raises TransientError: another session holds it for longer than `wait_s` seconds; says which.
        """
        await _set_up(self._connection, self._table, self._wait_s)
        try:
            await self._connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", TABLE_LOCK, str(self._table))
        except asyncpg.LockNotAvailableError:
            holder = await self._connection.fetchval(_HOLDER, TABLE_LOCK, str(self._table))
            raise TransientError(
                f"{self._table}: {holder or 'a session that has ended since'} has been working on this table for "
                f"{self._wait_s:.0f} s; it will be retried. If no run is active, end that session with "
                "pg_terminate_backend."
            ) from None
        await self._connection.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it; it ends with the connection at the latest."""
        # A connection that broke has no lock any more.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._connection.execute("SELECT pg_advisory_unlock($1, hashtext($2))", TABLE_LOCK, str(self._table))


async def _set_up(connection: asyncpg.Connection, table: TableName, wait_s: float) -> None:
    """Settings of a session that loads: its long statements are meant to be long, and its death must be noticed."""
    await connection.execute(
        "SELECT set_config('application_name', left('cd2 ' || $1, 63), false), "
        "set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false), "
        "set_config('lock_timeout', $2, false)",
        str(table),
        f"{int(wait_s * 1000)}ms",
    )
    # PostgreSQL 14 and newer: a statement whose client was killed does not go on to its end.
    with contextlib.suppress(asyncpg.PostgresError):
        await connection.execute("SET client_connection_check_interval = '5s'")
