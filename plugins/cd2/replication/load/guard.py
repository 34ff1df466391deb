"""A guard against jobs that are complete and yet hold next to nothing: they never empty a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cd2.replication.errors import TableFailure

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.names import TableName

SMALL = 1_000
"""So many rows may always go, unless none are left."""
SHRINK = "Shrink"
"""The type of the failure."""


@dataclass(frozen=True)
class Guard:
    """How many rows a load may delete.

    :param max_shrink: percent of the table's rows; at least `SMALL` rows.
    :param accepted: a person has confirmed that the rows are gone.
    :param only_added_to: a snapshot of this table deletes nothing, so it may be far smaller than the table.
    """

    max_shrink: float = 20.0
    accepted: bool = False
    only_added_to: bool = False

    async def check_snapshot(self, connection: asyncpg.Connection, table: TableName, came: int) -> int:
        """Check a snapshot before the first row is changed.

        :param came: how many rows it has.
        :returns: how many rows the table has.
        :raises TableFailure: it has no row, or too few.
        """
        there: int = await connection.fetchval(f"SELECT count(*) FROM {table.quoted}")
        if not self.only_added_to:
            self._check_empty(table, there, came)
            self.check(table, there, there - came, f"the snapshot has {came:,} row(s)")
        return there

    def check_repair(self, table: TableName, there: int, came: int, deleted: int) -> None:
        """Check what a repair would delete.

        :param came: how many rows the snapshot has.
        :raises TableFailure: see `check_snapshot`.
        """
        if deleted:
            self._check_empty(table, there, came)
        self.check(table, there, deleted, f"the snapshot has {came:,} row(s)")

    def _check_empty(self, table: TableName, there: int, came: int) -> None:
        if came == 0 < there and not self.accepted:
            raise TableFailure(
                f"{table}: the snapshot is empty, but the table has {there:,} row(s): the job may be complete and yet "
                f"lack its data. {_remedy()}",
                type=SHRINK,
            )

    def check(self, table: TableName, there: int, deleted: int, source: str) -> None:
        """Check how many rows go.

        :param there: how many rows the table had before.
        :param deleted: how many of them go, at least.
        :param source: to begin a sentence: the snapshot has 12 rows.
        :raises TableFailure: too many.
        """
        limit = int(max(SMALL, there * self.max_shrink / 100))
        if deleted <= limit or self.accepted:
            return
        raise TableFailure(
            f"{table}: {source}, and the table has {there:,}: {deleted:,} or more of them would be deleted, but [cd2] "
            f"max_shrink lets {limit:,} go at once ({self.max_shrink:g} %, at least {SMALL:,}). {_remedy()}",
            type=SHRINK,
        )

    async def check_changes(self, connection: asyncpg.Connection, table: TableName, deleted: int) -> None:
        """Check what an incremental has deleted, before the commit.

        :raises TableFailure: too many rows; the caller must roll back.
        """
        if deleted <= SMALL or self.accepted:
            return
        there = await connection.fetchval(
            f"SELECT count(*) + $2 - pg_stat_get_xact_tuples_inserted(to_regclass($1)) FROM {table.quoted}",
            table.quoted,
            deleted,
        )
        self.check(table, there, deleted, f"the changes delete {deleted:,} row(s)")


def keeps_what_is_gone(table: TableName) -> bool:
    """Whether the table keeps rows that DAP no longer has, so that no snapshot says anything about them."""
    return table.namespace == "canvas_logs"


def _remedy() -> str:
    return (
        "Nothing was changed. If the rows are really gone from Canvas, trigger the DAG with this table and "
        "accept_shrink; if not, give the job's id to Instructure's support."
    )
