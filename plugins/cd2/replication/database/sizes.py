"""How large the tables of the replica are, without waiting for anybody."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from cd2.replication.names import TableName

# Not pg_table_size(): it waits for whoever holds the table's lock, which a load that alters the table may do for long.
# Pages are as of the last VACUUM, ANALYZE or CREATE INDEX, and 0 (with -1 rows) before the first.
_SIZES = """
SELECT n.nspname, c.relname, current_setting('block_size')::bigint * (c.relpages + coalesce(t.relpages, 0))
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE n.nspname = ANY($1::text[]) AND c.relkind = 'r' AND c.reltuples >= 0"""


async def read(connection: asyncpg.Connection, namespaces: Iterable[str]) -> dict[TableName, int]:
    """Bytes of each table, long values included, as PostgreSQL last counted them; those never counted are left out."""
    rows = await connection.fetch(_SIZES, list(namespaces))
    return {TableName(row[0], row[1]): row[2] for row in rows}
