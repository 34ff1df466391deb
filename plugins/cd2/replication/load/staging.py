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
from cd2.replication.load.unique import make_unique
from cd2.replication.names import quote_identifier
from cd2.replication.schema.catalog import Collation, collations
from cd2.replication.schema.model import ColumnModel, TableModel
from cd2.replication.schema.taken import free_name

log = logging.getLogger(__name__)

TS, ACTION = '"meta.ts"', '"meta.action"'

# What this transaction has written, inserted and deleted. What a savepoint took back counts, too, and so do statistics
# that the session has not reported yet: only the difference between two looks says something.
_DONE = """
SELECT pg_stat_get_xact_tuples_inserted(c) + pg_stat_get_xact_tuples_updated(c) AS written,
       pg_stat_get_xact_tuples_inserted(c) AS inserted, pg_stat_get_xact_tuples_deleted(c) AS deleted
FROM to_regclass($1::text) AS c WHERE current_setting('track_counts')::boolean"""


class Staging:
    """The staging table of a job.

    :param incremental: whether its rows are changes; otherwise they are a snapshot.
    :param append_only: rows of the table that DAP no longer has are kept.
    :param prefix: of its name: two of one table have different ones.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        model: TableModel,
        incremental: bool,
        append_only: bool = False,
        prefix: str = "stage",
    ) -> None:
        self.table = model.name
        self._connection = connection
        self._model = model
        self._incremental = incremental
        self._append_only = append_only
        self.name = f"{prefix}_{hashlib.sha256(model.name.quoted.encode()).hexdigest()[:16]}"
        self._qualified = f"cd2.{self.name}"
        self._table = model.name.rows
        self._key = ", ".join(map(quote_identifier, model.key))
        self._match = self._same("t", "s")
        self._collations: dict[str, Collation] = {}
        self.rows = 0
        """How many rows it holds: one for each key."""
        self.kept = 0
        """How many rows of an append-only table the job would have deleted from another one."""
        self.added: int | None = None
        """How many rows more the table has by the changes, triggers' work included; None: PostgreSQL does not count."""

    async def create(self) -> None:
        """Create it. Arrays arrive as JSON; every column is nullable, because deleted rows have no values.

        The times are text, which COPY reads faster: they are needed, and parsed, only if a key comes again. The actions
        come first, because each statement reads them in every row.

        :raises TableFailure: a user has given a key column a collation in which different texts are equal.
        """
        self._collations = await collations(self._connection, self._model)
        obstacles.check_collations(self._model, self._collations)
        self.name = await free_name(self._connection, "cd2", self.name, suffixes=("", "_key"))
        self._qualified = f"cd2.{self.name}"
        known = f"CHECK (({ACTION} = 'U' OR {ACTION} = 'D') IS TRUE)"  # NULL is refused, too
        columns = [*([f"{ACTION} text {known}"] if self._incremental else []), f"{TS} text"]
        columns += [f"{quote_identifier(c.name)} {self._staged_as(c)}" for c in self._model.columns]
        await self._connection.execute(
            f"CREATE UNLOGGED TABLE {self._qualified} ({', '.join(columns)}) WITH (autovacuum_enabled = false)"
        )

    async def fill(self, rows: JobRows) -> None:
        """Stream the job's rows in. Of several rows with one key the newest stays; of equally new ones, the last.

        Without statistics of the staged rows, the planner looks each one up by its key, which is what we want; the
        index tells it how many there are.

        :raises TableFailure: a change is neither an upsert nor a delete, or see `JobRows.copy`.
        """
        try:
            copied = await rows.copy(self._connection, self._model, "cd2", self.name, meta=True)
        except asyncpg.CheckViolationError:
            raise TableFailure(
                f"{self.table}: a change is neither an upsert nor a delete. Nothing was changed; report this table to "
                "Instructure."
            ) from None
        unique = f"CREATE UNIQUE INDEX {self.name}_key ON {self._qualified} ({self._key})"
        newest = f"{TS}::timestamptz DESC NULLS LAST, ctid DESC"
        self.rows = copied - await make_unique(self._connection, unique, self._qualified, self._key, newest)

    async def apply_changes(self) -> tuple[int, int]:
        """Apply the deletes and upserts of an incremental; rows that are already equal stay untouched.

        :returns: how many rows were written, and how many deleted.
        :raises TableFailure: a user's object on the table keeps rows from being changed.
        """
        triggers = await self._begin()
        before = await self._done()
        gone = f"WHERE s.{ACTION} = 'D' AND {self._match}"
        deleted = 0
        if self._append_only:
            self.kept = await self._connection.fetchval(
                f"SELECT count(*) FROM {self._table} t, {self._qualified} s {gone}"
            )
        else:
            deleted = await self._count(f"DELETE FROM {self._table} t USING {self._qualified} s {gone}")
        written = await self._merge(f" WHERE s.{ACTION} = 'U'")
        after = await self._done()
        done = [now - then for now, then in zip(after, before, strict=True)] if before and after else None
        self.added = done[1] - done[2] if done else None
        # Each staged row changes one row at most; fewer are right, if a row was already equal or already gone.
        fewer = written + deleted + self.kept != self.rows
        # What a trigger does afterwards is not in the statements' counts, but in PostgreSQL's.
        if (fewer and triggers) or (done and [done[0], done[2]] != [written, deleted]):
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
        deleted = 0
        if self._append_only:
            self.kept = await self._connection.fetchval(f"SELECT count(*) FROM {outdated}")
        else:
            deleted = await self._count(f"DELETE FROM {outdated}")
        written = await self._merge()
        rows = await self._connection.fetchval(f"SELECT count(*) FROM {self._table}")
        # Only a trigger can keep one row and refuse another, so that the number is right and the rows are not.
        if triggers or self.rows + self.kept != rows:
            await self._check_rows(outdated, "", triggers)
        await self._end()
        return written, deleted

    async def deletes(self) -> bool:
        """Whether it may delete rows of the table."""
        if self._append_only:
            return False
        changes = f"SELECT EXISTS (SELECT FROM {self._qualified} WHERE {ACTION} = 'D')"
        return not self._incremental or bool(await self._connection.fetchval(changes))

    async def delete_all(self) -> int:
        """Delete all rows of the table; :returns: how many."""
        return await self._count(f"DELETE FROM {self._table}")

    async def insert_into_new(self, triggers: tuple[str, ...]) -> int:
        """Insert all rows into a new table, which has no key yet; :returns: how many.

        :raises TableFailure: one of these triggers of users keeps rows from it.
        """
        names = ", ".join(quote_identifier(c.name) for c in self._model.columns)
        written = await self._count(f"INSERT INTO {self.table.quoted} ({names}) SELECT * FROM {self.source()}")
        if written != self.rows:
            raise await obstacles.swallowed(self._connection, self.table, triggers, self.rows - written)
        return written

    async def apply_some(self, keys: str, expected: tuple[int, int]) -> None:
        """Make equal to the snapshot those rows whose keys another table has, and touch no other.

        :param keys: the qualified name of that table.
        :param expected: how many rows are to be written, and how many deleted.
        :raises TableFailure: a user's object on the table keeps rows from being changed, or makes others of them.
        """
        triggers = await self._begin()
        gone = f"NOT EXISTS (SELECT FROM {self._qualified} s WHERE {self._match})"
        wanted = f" WHERE EXISTS (SELECT FROM {keys} d WHERE {self._same('d', 's')})"
        outdated = f"{keys} d JOIN {self._table} t ON {self._same('d', 't')} WHERE {gone}"
        deleted = await self._count(
            f"DELETE FROM {self._table} t USING {keys} d WHERE {self._same('d', 't')} AND {gone}"
        )
        written = await self._merge(wanted)
        if triggers or (written, deleted) != expected:
            await self._check_rows(outdated, wanted, triggers)
        missing = f"t.{quote_identifier(self._model.key[0])} IS NULL"
        left = f"{self.source(wanted)} LEFT JOIN {self._table} t ON {self._match} WHERE {missing} OR {self._differs()}"
        if different := await self._connection.fetchval(f"SELECT count(*) FROM {left}"):
            raise obstacles.still_different(self.table, different)
        await self._end()

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

    async def _done(self) -> asyncpg.Record | None:
        return await self._connection.fetchrow(_DONE, self.table.quoted)

    async def _merge(self, where: str = "") -> int:
        names = [quote_identifier(column.name) for column in self._model.columns]
        values = [quote_identifier(column.name) for column in self._model.columns if not column.key]
        changes = ", ".join(f"{name} = s.{name}" for name in values)
        update = f"WHEN MATCHED AND {self._differs()} THEN UPDATE SET {changes} " if values else ""
        return await self._count(
            f"MERGE INTO {self._table} t USING {self.source(where)} ON {self._match} {update}"
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f's.{name}' for name in names)})"
        )

    def source(self, where: str = "") -> str:
        """The staged rows `s` with the table's columns, for FROM."""
        values = ", ".join(_unstaged(column) for column in self._model.columns)
        return f"(SELECT {values} FROM {self._qualified} s{where}) s"

    def _same(self, one: str, other: str) -> str:
        """Whether two rows have one key."""
        return " AND ".join(f"{one}.{name} = {other}.{name}" for name in map(quote_identifier, self._model.key))

    def both(self, column: ColumnModel) -> tuple[str, str]:
        """A column of the table `t` and of `source`, for a comparison: what only counts as equal (30 days) differs."""
        cast = {"interval": "::text", "interval ARRAY": "::text[]"}.get(column.type, "")
        cast = "::text[]" if column.array and column.text else cast  # the table may have varchar[]
        given = self._collations.get(column.name)
        by = "" if given is None or given.exact else ' COLLATE "C"'
        name = quote_identifier(column.name)
        return f"t.{name}{cast}{by}", f"s.{name}{cast}"

    def _staged_as(self, column: ColumnModel) -> str:
        given = self._collations.get(column.name)
        if column.array:
            return "jsonb"
        return f"{column.type} COLLATE {given.name}" if given else column.type

    def _differs(self) -> str:
        """Whether a row of the table differs from its staged row.

        The times come first: most changes bring a new one, and what follows the first difference is not compared.
        """
        values = sorted((c for c in self._model.columns if not c.key), key=lambda c: not c.type.startswith("timestamp"))
        old, new = (", ".join(side) for side in zip(*map(self.both, values), strict=True)) if values else ("", "")
        return f"ROW({old}) IS DISTINCT FROM ROW({new})" if values else "false"

    async def _count(self, statement: str) -> int:
        """Run a statement; :returns: how many rows PostgreSQL says that it changed."""
        status: str = await self._connection.execute(statement)
        return int(status.split()[-1])

    async def _check_rows(self, outdated: str, where: str, triggers: tuple[str, ...]) -> None:
        """Check that all staged rows have reached the table.

        A row that a trigger changes on its way differs from what was staged, but it is of this transaction.

        :param outdated: FROM and WHERE of the rows that should have been deleted.
        :param where: selects the staged rows that should have been written.
        """
        first = quote_identifier(self._model.key[0])
        older = "age(t.xmin) > age(pg_current_xact_id()::xid)"  # a savepoint of this transaction has a later id
        refused = (
            f"{self.source(where)} LEFT JOIN {self._table} t ON {self._match} "
            f"WHERE t.{first} IS NULL OR ({older} AND {self._differs()})"
        )
        missing = await self._connection.fetchval(f"SELECT count(*) FROM {refused}")
        left = await self._connection.fetchval(f"SELECT count(*) FROM {outdated}") - self.kept
        if missing or left:
            raise await obstacles.swallowed(self._connection, self.table, triggers, missing, left)


def _unstaged(column: ColumnModel) -> str:
    plain = quote_identifier(column.name)
    name = f"s.{plain}"
    if not column.array:
        return name
    # An explicit cast cuts texts that are too long, and the assignment rejects them; both cut spaces beyond the length.
    element, array, length = "e", column.type, re.search(r"\((\d+)\)", column.type)
    if column.text:
        array = "text[]"
        if length:
            element = f"CASE rtrim(substr(e, {length[1]} + 1)) WHEN '' THEN left(e, {length[1]}) ELSE e END"
    # NULL and the JSON null become NULL; an empty list becomes an empty array.
    elements = f"ARRAY(SELECT {element} FROM jsonb_array_elements_text({name}) WITH ORDINALITY AS x(e, n) ORDER BY n)"
    return f"CASE jsonb_typeof({name}) WHEN 'array' THEN {elements}::{array} END AS {plain}"
