"""Staging: a table that holds a job's rows until they are applied set-wise, in the same transaction.

It is unlogged, lives in `cd2`, and is gone with the transaction, however that ends. What is counted is what PostgreSQL
says that its statements did.
"""

from __future__ import annotations

import hashlib
import logging
import re

import asyncpg

from cd2.replication.errors import TableFailure
from cd2.replication.load import obstacles
from cd2.replication.load.rows import JobRows
from cd2.replication.names import quote_identifier
from cd2.replication.schema.model import ColumnModel, TableModel

log = logging.getLogger(__name__)

TS, ACTION = '"meta.ts"', '"meta.action"'


class Staging:
    """The staging table of a job.

    :param incremental: whether its rows are changes; otherwise they are a snapshot.
    :param prefix: of its name: two of one table have different ones.
    """

    def __init__(
        self, connection: asyncpg.Connection, model: TableModel, incremental: bool, prefix: str = "stage"
    ) -> None:
        self._connection = connection
        self._model = model
        self._incremental = incremental
        self.name = f"{prefix}_{hashlib.sha256(model.name.quoted.encode()).hexdigest()[:16]}"
        self._qualified = f"cd2.{self.name}"
        self._table = model.name.quoted
        self._key = ", ".join(map(quote_identifier, model.key))
        self._match = " AND ".join(f"t.{name} = s.{name}" for name in map(quote_identifier, model.key))
        self.rows = 0
        """How many rows it holds: one for each key."""

    async def create(self) -> None:
        """Create it. Arrays arrive as JSON; every column is nullable, because deleted rows have no values.

        The times are text, which COPY reads faster: they are needed, and parsed, only if a key comes again. The actions
        come first, because each statement reads them in every row.
        """
        columns = [*([f"{ACTION} text"] if self._incremental else []), f"{TS} text"]
        columns += [f"{quote_identifier(c.name)} {'jsonb' if c.array else c.type}" for c in self._model.columns]
        await self._connection.execute(
            f"CREATE UNLOGGED TABLE {self._qualified} ({', '.join(columns)}) WITH (autovacuum_enabled = false)"
        )

    async def fill(self, rows: JobRows) -> None:
        """Stream the job's rows in. Of several rows with one key the newest stays; of equally new ones, the last.

        Without statistics of the staged rows, the planner looks each one up by its key, which is what we want; the
        index tells it how many there are.
        """
        copied = await rows.copy(self._connection, self._model, "cd2", self.name, meta=True)
        unique = f"CREATE UNIQUE INDEX {self.name}_key ON {self._qualified} ({self._key})"
        newest = f"{TS}::timestamptz DESC, ctid DESC"
        self.rows = copied - await _make_unique(self._connection, unique, self._qualified, self._key, newest)

    async def apply_changes(self) -> tuple[int, int]:
        """Apply the deletes and upserts of an incremental; rows that are already equal stay untouched.

        :returns: how many rows were written, and how many deleted.
        :raises TableFailure: a user's object on the table keeps rows from being changed.
        """
        triggers = await self._begin()
        deleted = await self._count(
            f"DELETE FROM {self._table} t USING {self._qualified} s WHERE s.{ACTION} = 'D' AND {self._match}"
        )
        written = await self._merge(f" WHERE s.{ACTION} = 'U'")
        # Each staged row changes one row at most; fewer are right, if a row was already equal or already gone.
        if written + deleted != self.rows:
            await self._check_actions()
            if triggers:
                outdated = f"{self._qualified} s JOIN {self._table} t ON {self._match} WHERE s.{ACTION} = 'D'"
                await self._check_rows(outdated, f" WHERE s.{ACTION} = 'U'", triggers)
        await self._end()
        return written, deleted

    async def apply_snapshot(self) -> tuple[int, int]:
        """Make the table equal to a snapshot; rows that are already equal stay untouched.

        :returns: how many rows were written, and how many deleted.
        :raises TableFailure: a user's object on the table keeps rows from being changed.
        """
        triggers = await self._begin()
        outdated = f"{self._table} t WHERE NOT EXISTS (SELECT FROM {self._qualified} s WHERE {self._match})"
        deleted = await self._count(f"DELETE FROM {outdated}")
        written = await self._merge()
        # Only a trigger can keep one row and refuse another, so that the number is right and the rows are not.
        if triggers or self.rows != await self._connection.fetchval(f"SELECT count(*) FROM {self._table}"):
            await self._check_rows(outdated, "", triggers)
        await self._end()
        return written, deleted

    async def delete_all(self) -> int:
        """Delete all rows of the table; :returns: how many."""
        return await self._count(f"DELETE FROM {self._table}")

    async def insert_into_new(self) -> int:
        """Insert all rows into a new table, which has no key yet.

        :returns: how many rows were written.
        """
        names = ", ".join(quote_identifier(column.name) for column in self._model.columns)
        return await self._count(f"INSERT INTO {self._table} ({names}) SELECT * FROM {self._source()}")

    async def apply_some(self, keys: str, expected: tuple[int, int]) -> None:
        """Make equal to the snapshot those rows whose keys another table has, and touch no other.

        :param keys: the qualified name of that table.
        :param expected: how many rows are to be written, and how many deleted.
        :raises TableFailure: a user's object on the table keeps rows from being changed.
        """
        triggers = await self._begin()
        of_table, of_stage = (self._match.replace(was, now) for was, now in ((" s.", " d."), ("t.", "d.")))
        gone = f"NOT EXISTS (SELECT FROM {self._qualified} s WHERE {self._match})"
        wanted = f" WHERE EXISTS (SELECT FROM {keys} d WHERE {of_stage})"
        deleted = await self._count(f"DELETE FROM {self._table} t USING {keys} d WHERE {of_table} AND {gone}")
        written = await self._merge(wanted)
        if triggers or (written, deleted) != expected:
            await self._check_rows(f"{keys} d JOIN {self._table} t ON {of_table} WHERE {gone}", wanted, triggers)
        await self._end()

    def source(self) -> str:
        """The staged rows `s` with the table's columns, for FROM."""
        return self._source()

    async def drop(self) -> None:
        """Remove the staging table."""
        await self._connection.execute(f"DROP TABLE {self._qualified}")

    async def _begin(self) -> tuple[str, ...]:
        triggers = await obstacles.find(self._connection, self._model.name)
        # A hash join would write whole rows to temporary files; the keys have indexes on both sides.
        await self._connection.execute("SET LOCAL enable_hashjoin = off")
        return triggers

    async def _end(self) -> None:
        await self._connection.execute("RESET enable_hashjoin")

    async def _merge(self, where: str = "") -> int:
        names = [quote_identifier(column.name) for column in self._model.columns]
        values = [quote_identifier(column.name) for column in self._model.columns if not column.key]
        changes = ", ".join(f"{name} = s.{name}" for name in values)
        update = f"WHEN MATCHED AND {self._differs()} THEN UPDATE SET {changes} " if values else ""
        return await self._count(
            f"MERGE INTO {self._table} t USING {self._source(where)} ON {self._match} {update}"
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f's.{name}' for name in names)})"
        )

    def _source(self, where: str = "") -> str:
        """The staged rows `s` with the table's columns."""
        values = ", ".join(_unstaged(column) for column in self._model.columns)
        return f"(SELECT {values} FROM {self._qualified} s{where}) s"

    def _differs(self) -> str:
        """Whether a row of the table differs from its staged row."""
        values = [quote_identifier(column.name) for column in self._model.columns if not column.key]
        old, new = (", ".join(f"{row}.{name}" for name in values) for row in "ts")
        return f"ROW({old}) IS DISTINCT FROM ROW({new})" if values else "false"

    async def _count(self, statement: str) -> int:
        """Run a statement; :returns: how many rows PostgreSQL says that it changed."""
        status: str = await self._connection.execute(statement)
        return int(status.split()[-1])

    async def _check_actions(self) -> None:
        unknown = await self._connection.fetchval(
            f"SELECT count(*) FROM {self._qualified} WHERE {ACTION} IS NULL OR {ACTION} NOT IN ('D', 'U')"
        )
        if unknown:
            raise TableFailure(
                f"{self._model.name}: {unknown:,} change(s) are neither an upsert nor a delete. Nothing was changed; "
                "report this table to Instructure."
            )

    async def _check_rows(self, outdated: str, where: str, triggers: tuple[str, ...]) -> None:
        """Check that all staged rows have reached the table.

        A row that a trigger changes on its way differs from what was staged, but it is of this transaction.

        :param outdated: FROM and WHERE of the rows that should have been deleted.
        :param where: selects the staged rows that should have been written.
        """
        first = quote_identifier(self._model.key[0])
        refused = (
            f"{self._source(where)} LEFT JOIN {self._table} t ON {self._match} "
            f"WHERE t.{first} IS NULL OR (t.xmin <> pg_current_xact_id()::xid AND {self._differs()})"
        )
        missing = await self._connection.fetchval(f"SELECT count(*) FROM {refused}")
        left = await self._connection.fetchval(f"SELECT count(*) FROM {outdated}")
        if missing or left:
            cause = (
                f"A trigger that runs BEFORE each row can do that, and the table has {', '.join(triggers)}: drop or "
                "disable it, then clear the task."
                if triggers
                else "Please report this as a bug."
            )
            raise TableFailure(
                f"{self._model.name}: {missing:,} row(s) were not written and {left:,} not deleted, although "
                f"PostgreSQL reported no error. Nothing was changed. {cause}"
            )


async def add_key(connection: asyncpg.Connection, model: TableModel, statement: str) -> int:
    """Build the primary key over freshly copied rows, which is faster than updating it row by row.

    Of several rows with one key (web_logs) the last stays.

    :returns: how many rows were deleted for that.
    """
    key = ", ".join(map(quote_identifier, model.key))
    return await _make_unique(connection, statement, model.name.quoted, key, "ctid DESC")


async def _make_unique(connection: asyncpg.Connection, statement: str, table: str, key: str, order: str) -> int:
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
        log.info("%s: deleted %s row(s) whose key came again later; the last row of each key stays.", table, dropped)
        return dropped
    return 0


def _unstaged(column: ColumnModel) -> str:
    plain = quote_identifier(column.name)
    name = f"s.{plain}"
    if not column.array:
        return name
    # NULL and the JSON null become NULL; an empty list becomes an empty array.
    elements = f"ARRAY(SELECT e FROM jsonb_array_elements_text({name}) WITH ORDINALITY AS x(e, n) ORDER BY n)"
    # Without its length: an explicit cast would truncate values that are too long; the assignment rejects them.
    any_length = re.sub(r"\([\d, ]+\)", "", column.type)
    return f"CASE jsonb_typeof({name}) WHEN 'array' THEN {elements}::{any_length} END AS {plain}"
