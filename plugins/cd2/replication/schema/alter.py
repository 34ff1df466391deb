"""Alters a table that people use: drops dependents only if they block it, and never makes readers wait long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import asyncpg

from cd2.replication.dependents import restore as dependents
from cd2.replication.errors import TransientError
from cd2.replication.names import TableName
from cd2.replication.results import Dependents

log = logging.getLogger(__name__)

LOCK_TIMEOUT = "3s"
"""Longest wait for one lock: readers queue behind a waiting ALTER."""
LOCK_PATIENCE_S = 120.0
LOCK_PAUSE_S = 1.0


class Alteration:
    """The DDL of one table in one transaction.

    Dependents are dropped when they block a statement, and restored by `finish`.
    """

    def __init__(self, connection: asyncpg.Connection, table: TableName) -> None:
        self._connection = connection
        self._table = table
        self._saved: dependents.SavedDependents | None = None

    async def run(self, statements: str) -> None:
        """Run DDL in the open transaction.

        :raises TableFailure: a dependent that we could not restore is in the way; nothing was dropped.
        :raises TransientError: other sessions hold the table for `LOCK_PATIENCE_S` seconds.
        """
        try:
            await patiently(self._connection, statements, self._table)
        except (asyncpg.FeatureNotSupportedError, asyncpg.DependentObjectsStillExistError) as error:
            if self._saved is not None:
                raise
            log.info("%s: %s: dropping its dependents; they will be restored.", self._table, error)
        else:
            return
        await _with_patience(self._save_and_drop, self._table)
        await patiently(self._connection, statements, self._table)

    async def finish(self) -> Dependents:
        """Restore what was dropped, and retry what an earlier sync could not restore."""
        restored = Dependents()
        if self._saved is not None:
            restored = await dependents.restore(self._connection, self._saved)
        retried = await dependents.retry_broken(self._connection, self._table)
        broken = tuple(dict.fromkeys((*restored.broken, *retried.broken)))
        for name in broken:
            log.warning(
                "%s cannot be restored after a change of %s; its definition is kept in cd2.broken_dependents "
                "and retried at each sync.",
                name,
                self._table,
            )
        return Dependents(tuple(dict.fromkeys((*restored.restored, *retried.restored))), broken)

    async def _save_and_drop(self) -> None:
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            self._saved = await dependents.save_and_drop(self._connection, self._table)


async def patiently(connection: asyncpg.Connection, statements: str, table: TableName) -> None:
    """Run DDL in a transaction (or savepoint) of its own; retry until it gets its locks, with short waits for each.

    :raises TransientError: other sessions hold the table for `LOCK_PATIENCE_S` seconds.
    """

    async def run() -> None:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(statements)

    await _with_patience(run, table)


async def _with_patience(work: Callable[[], Awaitable[None]], table: TableName) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            return await work()
        except asyncpg.LockNotAvailableError:
            log.info("%s: another session holds a lock on it; the schema change waits.", table)
        await asyncio.sleep(LOCK_PAUSE_S)
    raise TransientError(
        f"{table}: its schema changed, but other sessions have used the table or a view on it without a pause for "
        f"{LOCK_PATIENCE_S:.0f} s; nothing was changed, it will be retried. "
        "pg_locks and pg_stat_activity show who.",
        type="55P03",
    )
