"""A unique key over rows in which one may come several times."""

from __future__ import annotations

import logging

import asyncpg

log = logging.getLogger(__name__)


async def is_built(connection: asyncpg.Connection, statement: str) -> bool:
    """Whether a statement could build its unique index or key; false: a key repeats, and nothing was changed."""
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.UniqueViolationError:
        return False
    return True


async def make_unique(connection: asyncpg.Connection, statement: str, table: str, key: str, order: str) -> int:
    """Build a unique index. Of several rows with one key the first in this order stays.

    :returns: how many rows were deleted for that.
    """
    if await is_built(connection, statement):
        return 0
    status: str = await connection.execute(
        f"DELETE FROM {table} t USING (SELECT ctid AS place, "
        f"row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS repetition FROM {table}) ranked "
        "WHERE t.ctid = ranked.place AND ranked.repetition > 1"
    )
    await connection.execute(statement)
    dropped = int(status.split()[-1])
    log.info("%s: deleted %s row(s) whose key appeared again; the newest row of each key stays.", table, dropped)
    return dropped
