"""Which rows of a table differ from a staged snapshot: one statement that reads each side once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cd2.replication.names import quote_identifier

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from cd2.replication.load.staging import Staging
    from cd2.replication.schema.model import TableModel

KEYS_NOTED = 1_000
"""Of how many differing rows the keys are noted."""
LONGEST_KEY = 2_500
"""Bytes of a key that is noted; an index of PostgreSQL holds 2,704 a row."""
KIND, COLUMNS = '"meta.kind"', '"meta.columns"'
"""Beside the key in the table of differences; DAP's columns cannot have such names."""


class Comparison:
    """A table beside a staged snapshot.

    :param connection: in a transaction.
    :param model: what both have; columns of users are not compared.
    :param snapshot: the staged snapshot.
    :param prefix: of the name of the table of differences: two of one table have different ones.
    """

    def __init__(
        self, connection: asyncpg.Connection, model: TableModel, snapshot: Staging, prefix: str = "differences"
    ) -> None:
        self._connection = connection
        self._model = model
        self._snapshot = snapshot
        self._keys = [quote_identifier(name) for name in model.key]
        self.differences = f"cd2.{prefix}_{snapshot.name.partition('_')[2]}"
        """Name of the table of differences: key, kind (missing, extra, different) and columns."""

    async def find(self) -> int:
        """Compare all rows, by value: NaN is equal to NaN, -0.0 to 0.0, and JSON is compared as what it says.

        :returns: how many rows the table has.
        """
        values = [column for column in self._model.columns if not column.key]
        named, differs = "", "false"
        if values:
            pairs = [self._snapshot.both(column) for column in values]
            named = ", ".join(
                f"CASE WHEN {old} IS DISTINCT FROM {new} THEN {_literal(column.name)} END"
                for column, (old, new) in zip(values, pairs, strict=True)
            )
            olds, news = (", ".join(side) for side in zip(*pairs, strict=True))
            differs = f"ROW({olds}) IS DISTINCT FROM ROW({news})"
        no_row, no_staged = (f"{side}.{self._keys[0]} IS NULL" for side in "ts")
        # In the order of both indexes no row is kept for later; a hash or a sort would write them to temporary files.
        await self._connection.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_sort = off")
        await self._connection.execute(
            f"CREATE UNLOGGED TABLE {self.differences} AS "
            f"SELECT {', '.join(f'coalesce(s.{key}, t.{key}) AS {key}' for key in self._keys)}, "
            f"CASE WHEN {no_row} THEN 'missing' WHEN {no_staged} THEN 'extra' ELSE 'different' END AS {KIND}, "
            f"CASE WHEN NOT ({no_row} OR {no_staged}) THEN array_remove(ARRAY[{named}]::text[], NULL) END AS {COLUMNS} "
            f"FROM {self._snapshot.source()} FULL JOIN {self._model.name.rows} t ON {self._same('s', 't')} "
            f"WHERE {no_row} OR {no_staged} OR {differs}"
        )
        await self._connection.execute("RESET enable_hashjoin; RESET enable_sort")
        await self._connection.execute(f"CREATE UNIQUE INDEX ON {self.differences} ({', '.join(self._keys)})")
        counts = await self.by_kind()
        return self._snapshot.rows - counts.get("missing", 0) + counts.get("extra", 0)

    async def leave_out(self, changes: Staging, as_of: datetime | None) -> tuple[int, int]:
        """Take out the keys that have changed since the snapshot, deleted ones too.

        :param changes: the staged changes; their keys are enough.
        :param as_of: the moment of the snapshot.
        :returns: how many keys, and how many of them the snapshot has.
        """
        later = 'coalesce(c."meta.ts"::timestamptz >= $1, true)'
        staged, same = f"cd2.{changes.name} c", self._same("c", "d")
        of_snapshot = f"{staged} JOIN cd2.{self._snapshot.name} d ON {same}"
        await self._connection.execute(
            f"DELETE FROM {self.differences} d USING {staged} WHERE {later} AND {same}", as_of
        )
        return (
            await self._connection.fetchval(f"SELECT count(*) FROM {staged} WHERE {later}", as_of),
            await self._connection.fetchval(f"SELECT count(*) FROM {of_snapshot} WHERE {later}", as_of),
        )

    async def keep_extra(self) -> int:
        """Take out the rows that only the table has: DAP no longer keeps them; :returns: how many."""
        status: str = await self._connection.execute(f"DELETE FROM {self.differences} WHERE {KIND} = 'extra'")
        return int(status.split()[-1])

    async def by_kind(self) -> Mapping[str, int]:
        """How many rows are missing, extra and different."""
        rows = await self._connection.fetch(f"SELECT {KIND}, count(*) FROM {self.differences} GROUP BY 1")
        return {row[0]: row[1] for row in rows}

    async def by_column(self) -> Mapping[str, int]:
        """How many rows differ in which column, most first."""
        rows = await self._connection.fetch(
            f"SELECT u.name, count(*) FROM {self.differences} d, unnest(d.{COLUMNS}) AS u(name) "
            "GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        return {row[0]: row[1] for row in rows}

    async def note_keys(self, verification: Any) -> None:
        """Note the keys of the first `KEYS_NOTED` rows in `cd2.verification_differences`; values are never noted.

        Nor are keys of more than `LONGEST_KEY` bytes, which its index could not hold.

        :param verification: its id.
        """
        pairs = ", ".join(f"{_literal(name)}, {quote_identifier(name)}" for name in self._model.key)
        key = f"jsonb_build_object({pairs})"
        await self._connection.execute(
            "INSERT INTO cd2.verification_differences (verification, kind, key, columns) "
            f"SELECT $1, {KIND}, {key}, {COLUMNS} FROM {self.differences} "
            f"WHERE pg_column_size({key}) <= {LONGEST_KEY} ORDER BY {', '.join(self._keys)} LIMIT {KEYS_NOTED}",
            verification,
        )

    async def drop(self) -> None:
        """Remove the table of differences."""
        await self._connection.execute(f"DROP TABLE {self.differences}")

    def _same(self, one: str, other: str) -> str:
        return " AND ".join(f"{one}.{key} = {other}.{key}" for key in self._keys)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
