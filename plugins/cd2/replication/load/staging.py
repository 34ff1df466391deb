"""Staging: a table that holds a job's rows until they are applied set-wise, in the same transaction.

It is unlogged, lives in `cd2`, and is gone with the transaction, however that ends.
"""

from __future__ import annotations

import hashlib
import logging
import re

import asyncpg

from cd2.replication.load.rows import JobRows
from cd2.replication.names import quote_identifier
from cd2.replication.schema.model import ColumnModel, TableModel

log = logging.getLogger(__name__)

TS, ACTION = '"meta.ts"', '"meta.action"'


class Staging:
    """The staging table of a job."""

    def __init__(self, connection: asyncpg.Connection, model: TableModel, incremental: bool) -> None:
        self._connection = connection
        self._model = model
        self._incremental = incremental
        self.name = f"stage_{hashlib.sha256(model.name.quoted.encode()).hexdigest()[:16]}"
        self._qualified = f"cd2.{self.name}"
        self._table = model.name.quoted

    async def create(self) -> None:
        """Create it. Arrays arrive as JSON; every column is nullable, because deleted rows have no values."""
        columns = [f"{TS} timestamptz", *([f"{ACTION} text"] if self._incremental else [])]
        columns += [f"{quote_identifier(c.name)} {'jsonb' if c.array else c.type}" for c in self._model.columns]
        await self._connection.execute(
            f"CREATE UNLOGGED TABLE {self._qualified} ({', '.join(columns)}) WITH (autovacuum_enabled = false)"
        )

    async def fill(self, rows: JobRows) -> None:
        """Stream the job's rows in. Of several rows with one key the newest stays; of equally new ones, the last."""
        await rows.copy(self._connection, self._model, "cd2", self.name, meta=True)
        key = self._key()
        await self._connection.execute(f"ANALYZE {self._qualified} ({key})")
        repeated = f"SELECT EXISTS (SELECT FROM {self._qualified} GROUP BY {key} HAVING count(*) > 1)"
        if await self._connection.fetchval(repeated):
            await _keep_newest(self._connection, self._qualified, key, f"{TS} DESC, ctid DESC")

    async def counts(self) -> tuple[int, int]:
        """How many rows to write, and how many keys to delete."""
        counted = f"count(*) FILTER (WHERE {ACTION} = 'D')" if self._incremental else "0::bigint"
        query = f"SELECT ARRAY[count(*), {counted}] FROM {self._qualified}"
        rows, deleted = await self._connection.fetchval(query)
        return rows - deleted, deleted

    async def apply_changes(self) -> None:
        """Apply the deletes and upserts of an incremental; rows that are already equal stay untouched."""
        await self._connection.execute(
            f"DELETE FROM {self._table} t USING {self._qualified} s WHERE s.{ACTION} = 'D' AND {self._match()}"
        )
        await self._upsert(f" WHERE s.{ACTION} = 'U'")

    async def apply_snapshot(self) -> None:
        """Make the table equal to a snapshot; rows that are already equal stay untouched."""
        await self._connection.execute(
            f"DELETE FROM {self._table} t WHERE NOT EXISTS (SELECT FROM {self._qualified} s WHERE {self._match()})"
        )
        await self._upsert()

    async def insert_into_new(self) -> None:
        """Insert all rows into a new table, which has no key yet."""
        await self._connection.execute(self._insert())

    async def _upsert(self, where: str = "") -> None:
        values = [quote_identifier(column.name) for column in self._model.columns if not column.key]
        if values:
            new = ", ".join(f"excluded.{name}" for name in values)
            old = ", ".join(f"t.{name}" for name in values)
            changes = ", ".join(f"{name} = excluded.{name}" for name in values)
            conflict = f"DO UPDATE SET {changes} WHERE ROW({old}) IS DISTINCT FROM ROW({new})"
        else:
            conflict = "DO NOTHING"
        await self._connection.execute(f"{self._insert()}{where} ON CONFLICT ({self._key()}) {conflict}")

    def _insert(self) -> str:
        names = ", ".join(quote_identifier(column.name) for column in self._model.columns)
        values = ", ".join(_unstaged(column) for column in self._model.columns)
        return f"INSERT INTO {self._table} AS t ({names}) SELECT {values} FROM {self._qualified} s"

    async def drop(self) -> None:
        """Remove the staging table."""
        await self._connection.execute(f"DROP TABLE {self._qualified}")

    def _key(self) -> str:
        return ", ".join(quote_identifier(name) for name in self._model.key)

    def _match(self) -> str:
        return " AND ".join(f"t.{quote_identifier(name)} = s.{quote_identifier(name)}" for name in self._model.key)


async def add_key(connection: asyncpg.Connection, model: TableModel, statement: str) -> int:
    """Build the primary key over freshly copied rows, which is faster than updating it row by row.

    Of several rows with one key (web_logs) the last stays.

    :returns: how many rows were deleted for that.
    """
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.UniqueViolationError:
        key = ", ".join(quote_identifier(name) for name in model.key)
        dropped = await _keep_newest(connection, model.name.quoted, key, "ctid DESC")
        await connection.execute(statement)
        return dropped
    return 0


async def _keep_newest(connection: asyncpg.Connection, table: str, key: str, order: str) -> int:
    status: str = await connection.execute(
        f"DELETE FROM {table} t USING (SELECT ctid AS place, "
        f"row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS repetition FROM {table}) ranked "
        "WHERE t.ctid = ranked.place AND ranked.repetition > 1"
    )
    dropped = int(status.split()[-1])
    log.info("%s: deleted %s row(s) whose key came again later; the last row of each key stays.", table, dropped)
    return dropped


def _unstaged(column: ColumnModel) -> str:
    name = f"s.{quote_identifier(column.name)}"
    if not column.array:
        return name
    # NULL and the JSON null become NULL; an empty list becomes an empty array.
    elements = f"ARRAY(SELECT e FROM jsonb_array_elements_text({name}) WITH ORDINALITY AS x(e, n) ORDER BY n)"
    # Without its length: an explicit cast would truncate values that are too long; the assignment rejects them.
    any_length = re.sub(r"\([\d, ]+\)", "", column.type)
    return f"CASE jsonb_typeof({name}) WHEN 'array' THEN {elements}::{any_length} END"
