"""A unique key over rows in which one may come several times."""

from __future__ import annotations

import logging

import asyncpg

from cd2.replication.names import quote_identifier
from cd2.replication.schema.model import TableModel

log = logging.getLogger(__name__)


async def add_key(connection: asyncpg.Connection, model: TableModel, statement: str) -> int:
    """Build the primary key over freshly copied rows, which is faster than updating it row by row.

    Of several rows with one key (web_logs) the last stays.

    :returns: how many rows were deleted for that.
    """
    key = ", ".join(map(quote_identifier, model.key))
    return await make_unique(connection, statement, model.name.quoted, key, "ctid DESC")


async def make_unique(connection: asyncpg.Connection, statement: str, table: str, key: str, order: str) -> int:
    """Build a unique index. Of several rows with one key the first in this order stays.

    :returns: how many rows were deleted for that.
    """
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.UniqueViolationError:
        status: str = await connection.execute(
            f"DELETE FROM {table} t USING (SELECT ctid AS place, "
            f"row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS repetition FROM {table}) ranked "
            "WHERE t.ctid = ranked.place AND ranked.repetition > 1"
        )
        await connection.execute(statement)
        dropped = int(status.split()[-1])
        log.info(
            "%s: deleted %s row(s) whose key appeared again later; the last row of each key stays.", table, dropped
        )
        return dropped
    return 0
