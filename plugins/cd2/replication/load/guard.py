"""A guard against jobs that are complete and yet hold next to nothing: they never empty a table."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from cd2.replication.bookkeeping import ledger
from cd2.replication.errors import ReinitRequired, TableFailure

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
    """How many rows a load may delete. From an append-only table nothing is deleted, so only `check_any` asks.

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
        there: int = await connection.fetchval(f"SELECT count(*) FROM {snapshot.table.rows}")
        self.check_deleted(snapshot, there, there - snapshot.rows)
        return there

    async def check_any(self, connection: asyncpg.Connection, snapshot: Staging) -> None:
        """Check that a snapshot for an append-only table has rows, if the table has some.

        It deletes none, but the cursor would move over all changes since the last load, and no increment brings them.

        :raises TableFailure: the snapshot has no row.
        """
        if snapshot.rows == 0:
            there: int = await connection.fetchval(f"SELECT count(*) FROM {snapshot.table.rows}")
            self.check_deleted(snapshot, there, there)

    async def check_there(self, connection: asyncpg.Connection, table: TableName) -> None:
        """Check that the rows of the last load are there: a crash empties an unlogged table, a person truncates one.

        :raises ReinitRequired: none is, and increments would not bring them back.
        """
        # Whoever may not see the rows is told so as soon as there is something to load.
        if await connection.fetchval("SELECT row_security_active($1::text)", table.quoted):
            return
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table.rows})"):
            return
        if known := await ledger.rows_known(connection, table):
            raise ReinitRequired(
                f"{table}: the table is empty, but had {known:,} row(s) after its last load. Somebody has deleted "
                "them, or it is UNLOGGED and the server has crashed: it needs a new snapshot."
            )

    async def check_new(self, connection: asyncpg.Connection, table: TableName, rows: int) -> None:
        """Check how many rows have filled a new table: perhaps it was dropped, and the ledger still knows it.

        :raises TableFailure: none, although it had some; the caller must roll back.
        """
        if rows or self.accepted:
            return
        if known := await ledger.rows_known(connection, table):
            raise TableFailure(
                f"{table}: the snapshot is empty, but before it was dropped, the table had {known:,} row(s): the job "
                f"may be complete and yet lack its data. {_REMEDY.format('accept_shrink')}",
                type=SHRINK,
            )

    def check_deleted(self, snapshot: Staging, there: int, deleted: int, form: str = "full_refresh") -> None:
        """Check how many rows a staged snapshot deletes.

        :param there: how many rows the table had before.
        :param deleted: how many go, at least; not positive: perhaps none.
        :param form: what of the trigger form asks for a snapshot.
        :raises TableFailure: see `check_snapshot`.
        """
        remedy = _REMEDY.format(f"{form} and accept_shrink")
        if snapshot.rows == 0 < deleted and not self.accepted:
            raise TableFailure(
                f"{snapshot.table}: the snapshot is empty, but the table has {there:,} row(s): the job may be complete "
                f"and yet lack its data. {remedy}",
                type=SHRINK,
            )
        self._check(snapshot.table, there, deleted, f"the snapshot has {snapshot.rows:,} row(s)", remedy)

    async def check_changes(self, connection: asyncpg.Connection, changes: Staging, deleted: int) -> None:
        """Check what an incremental has deleted, before the commit.

        :param changes: they are applied.
        :raises TableFailure: too many rows; the caller must roll back.
        """
        if deleted <= SMALL or self.accepted:
            return
        known = await ledger.rows_known(connection, changes.table)
        if known is not None and deleted <= self._limit(known):
            return
        there = await connection.fetchval(f"SELECT count(*) FROM {changes.table.rows}")
        there += deleted if changes.added is None else -changes.added
        source, remedy = f"the changes delete {deleted:,} row(s)", _REMEDY.format("accept_shrink")
        self._check(changes.table, there, deleted, source, remedy)

    def _limit(self, there: int) -> int:
        # As people write it: 33.3 % of 6,000 are 1,998, but not of the nearest binary fraction.
        return int(max(Decimal(SMALL), Decimal(repr(self.max_shrink)) * there / 100))

    def _check(self, table: TableName, there: int, deleted: int, source: str, remedy: str) -> None:
        limit = self._limit(there)
        if deleted <= limit or self.accepted:
            return
        raise TableFailure(
            f"{table}: {source}, and the table has {there:,}: {deleted:,} or more of them would be deleted, but [cd2] "
            f"max_shrink allows only {limit:,} at once ({self.max_shrink:g} %, at least {SMALL:,}). {remedy}",
            type=SHRINK,
        )


_REMEDY = (
    "Nothing was changed. If the rows are really gone from Canvas, trigger the DAG with this table, {}; if not, give "
    "the job's id to Instructure's support."
)
