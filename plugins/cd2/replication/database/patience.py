"""Short waits for locks, for as long as it takes: readers queue behind whoever waits to change their table."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.errors import TransientError
from cd2.replication.sqlerrors.quoting import raised_by_code

if TYPE_CHECKING:
    from cd2.replication.names import TableName

log = logging.getLogger(__name__)

LOCK_TIMEOUT = "3s"
"""Longest wait for one lock: readers queue behind a waiting ALTER."""
LOCK_PATIENCE_S = 120.0
LOCK_PAUSE_S = 1.0


class briefly:  # noqa: N801 - reads as what it does
    """A transaction, or a savepoint, with short waits for locks."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._transaction = connection.transaction()
        self._before = ""

    async def __aenter__(self) -> None:
        """Begin."""
        await self._transaction.__aenter__()
        self._before = await self._connection.fetchval("SELECT current_setting('lock_timeout')")
        await self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")

    async def __aexit__(self, *failure: object) -> None:
        """Commit, or roll back. Releasing a savepoint does not reset its settings."""
        if failure[0] is None:
            await self._connection.execute(f"SET LOCAL lock_timeout = '{self._before}'")
        await self._transaction.__aexit__(*failure)


async def with_patience(work: Callable[[], Awaitable[None]], table: TableName) -> None:
    """Repeat a short change until no other session holds a lock that it needs.

    :raises TransientError: others hold one for `LOCK_PATIENCE_S` seconds.
    """
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            return await work()
        except asyncpg.LockNotAvailableError as error:
            if raised_by_code(error):
                raise
            log.info("%s: another session holds a lock on it; the schema change waits.", table)
        await asyncio.sleep(LOCK_PAUSE_S)
    raise TransientError(
        f"{table}: its schema or a constraint has to change, but other sessions have used the table or a view on it "
        f"without a pause for {LOCK_PATIENCE_S:.0f} s; nothing was changed, it will be retried. pg_locks and "
        "pg_stat_activity show who.",
        type="55P03",
    )
