"""A guard against jobs that are complete and yet hold next to nothing: they never empty a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cd2.replication.errors import TableFailure

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.load.staging import Staging
    from cd2.replication.names import TableName

SMALL = 1_000
"""So many rows may always go, unless none are left."""
SHRINK = "Shrink"
"""The type of the failure."""


@dataclass(frozen=True)
class Guard:
    """How many rows a load may delete. From an append-only table nothing is deleted, so nobody asks.

    :param max_shrink: percent of the table's rows; at least `SMALL` rows.
    :param accepted: a person has confirmed that the rows are gone.
    """

    max_shrink: float = 20.0
    accepted: bool = False

    async def check_snapshot(self, connection: asyncpg.Connection, snapshot: Staging) -> int:
        """Check a staged snapshot before the first row is changed.

        :returns: how many rows the table has.
        :raises TableFailure: the snapshot has no row, or too few.
        """
        there: int = await connection.fetchval(f"SELECT count(*) FROM {snapshot.table.quoted}")
        self.check_repair(snapshot.table, there, snapshot.rows, there - snapshot.rows)
        return there

    def check_repair(self, table: TableName, there: int, came: int, deleted: int) -> None:
        """Check what a snapshot deletes.

        :param there: how many rows the table had before.
        :param came: how many rows the snapshot has.
        :param deleted: how many go, at least; not positive: perhaps none.
        :raises TableFailure: see `check_snapshot`.
        """
        if came == 0 < deleted and not self.accepted:
            raise TableFailure(
                f"{table}: the snapshot is empty, but the table has {there:,} row(s): the job may be complete and yet "
                f"lack its data. {_REMEDY}",
                type=SHRINK,
            )
        self.check(table, there, deleted, f"the snapshot has {came:,} row(s)")

    async def check_changes(self, connection: asyncpg.Connection, changes: Staging, deleted: int) -> None:
        """Check what an incremental has deleted, before the commit.

        :param changes: they are applied.
        :raises TableFailure: too many rows; the caller must roll back.
        """
        if deleted <= SMALL or self.accepted:
            return
        there = await connection.fetchval(f"SELECT count(*) FROM {changes.table.quoted}")
        there += deleted if changes.added is None else -changes.added
        self.check(changes.table, there, deleted, f"the changes delete {deleted:,} row(s)")

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
            f"max_shrink lets {limit:,} go at once ({self.max_shrink:g} %, at least {SMALL:,}). {_REMEDY}",
            type=SHRINK,
        )


_REMEDY = (
    "Nothing was changed. If the rows are really gone from Canvas, trigger the DAG with this table and accept_shrink; "
    "if not, give the job's id to Instructure's support."
)
