"""The lock of a table: two overlapping syncs could leave deleted rows for ever."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from cd2.errors import TransientError

TABLE_LOCK = 0x636432
"""First half of the advisory lock of a table; the second is a hash of its name."""
LOCK_WAIT_S = 300

_HOLDER = """
SELECT format('session %s (%s%s, since %s)', pid, coalesce(nullif(application_name, ''), 'without a name'),
              coalesce(' from ' || host(client_addr), ''), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND pg_stat_activity.datname = current_database()
  AND classid = $1 AND objid = hashtext($2)::bigint & 4294967295 AND objsubid = 2"""


@asynccontextmanager
async def table_lock(connection: asyncpg.Connection, name: str, wait_s: float = LOCK_WAIT_S) -> AsyncIterator[None]:
    """Hold a table's lock; it ends with the connection at the latest.

    :param name: `namespace.table`.
    :raises TransientError: another session holds it for longer than `wait_s` seconds; says which.
    """
    await _make_ready(connection, name)
    await connection.execute(f"SET lock_timeout = {int(wait_s * 1000)}")
    try:
        await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", TABLE_LOCK, name)
    except asyncpg.LockNotAvailableError:
        holder = await connection.fetchval(_HOLDER, TABLE_LOCK, name) or "a session that has ended meanwhile"
    else:
        yield
        return
    raise TransientError(
        f"{name}: {holder} has been working on this table for {wait_s:.0f} s; it is tried again. If no run is active, "
        "end that session with pg_terminate_backend."
    )


async def _make_ready(connection: asyncpg.Connection, name: str) -> None:
    """Settings of a session that loads: its long statements are meant to be long, and its death is to be noticed."""
    await connection.execute(
        "SELECT set_config('application_name', left('cd2 ' || $1, 63), false), "
        "set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false)",
        name,
    )
    # PostgreSQL 14 and newer: a statement whose client was killed does not go on to its end.
    with contextlib.suppress(asyncpg.PostgresError):
        await connection.execute("SET client_connection_check_interval = '5s'")
