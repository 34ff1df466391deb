"""Alters a table that people use: sets aside only what blocks it, and never makes readers wait long."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import asyncpg

from cd2.replication.database.patience import briefly, with_patience
from cd2.replication.dependents import parts
from cd2.replication.dependents import restore as dependents
from cd2.replication.dependents.parts import Part, Touched
from cd2.replication.dependents.session import raise_if_temporary, without_values
from cd2.replication.errors import Cd2Error, TableFailure, TransientError, without_table
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from cd2.replication.schema.closing import NarrowEnum
from cd2.replication.sqlerrors.quoting import raised_by_code

log = logging.getLogger(__name__)

_BLOCKED = ("0A", "2BP", "42", "22023")
"""Beginnings of the SQLSTATEs of a change that another object blocks: it uses the column, or no longer fits it."""
_NOT_BLOCKED = ("42501", "42P01")
_BY_VIEWS = ("0A", "2BP")


class _NotAsItWas(Exception):
    """An object could not be recreated as it was."""


class Alteration:
    """The DDL of one table in one transaction.

    What people hung on the touched columns is dropped if it blocks a statement, and recreated right after it. Views are
    dropped if they block one, and restored by `finish`.

    :param touched: the columns that the DDL changes or drops.
    :param leftovers: statements that drop types which the DDL leaves unused.
    """

    def __init__(
        self, connection: asyncpg.Connection, table: TableName, touched: Touched, leftovers: Sequence[str] = ()
    ) -> None:
        self._connection = connection
        self._table = table
        self._touched = touched
        self._leftovers = leftovers
        self._saved: dependents.SavedDependents | None = None
        self._set_aside: tuple[Part, ...] = ()
        self._outcome = Dependents()
        self._narrow: list[NarrowEnum] = []
        self.altered = False
        """Whether the schema has changed."""
        self.notes: tuple[str, ...] = ()
        """Sentences about what could not be changed."""

    async def run(self, statements: str) -> None:
        """Run DDL; outside of a transaction it commits.

        :raises TableFailure: an object that we could not restore is in the way; nothing was dropped.
        :raises TransientError: other sessions hold the table for `LOCK_PATIENCE_S` seconds.
        """
        await self._run(statements)
        self.altered = True

    def narrow_later(self, step: NarrowEnum) -> None:
        """Let `finish` drop values of an enumeration, if that is possible."""
        self._narrow.append(step)

    async def set_references_aside(self) -> None:
        """Drop other tables' foreign keys to this one before all its rows are replaced; `finish` restores them.

        Otherwise they would forbid that, or delete the rows that refer to ours.
        """

        async def drop() -> None:
            async with self._transaction():
                self._set_aside += await parts.drop_references(self._connection, self._table)

        await with_patience(drop, self._table)

    async def set_aside(self, labels: Collection[str]) -> tuple[Part, ...]:
        """Drop these constraints, indexes and foreign keys while rows are written; the caller has them recreated.

        :raises asyncpg.PostgresError: one cannot be dropped.
        :raises TransientError: other sessions hold the table for `LOCK_PATIENCE_S` seconds.
        """
        dropped: tuple[Part, ...] = ()

        async def drop() -> None:
            nonlocal dropped
            async with self._transaction():
                dropped = await parts.drop_labelled(self._connection, self._table, labels)

        await with_patience(drop, self._table)
        log.info("%s: %s: checked after the rows are loaded.", self._table, ", ".join(part.label for part in dropped))
        return dropped

    async def recreate(self, part: Part) -> None:
        """Recreate what `set_aside` dropped.

        :raises asyncpg.PostgresError: it cannot be created.
        """
        await parts.recreate(self._connection, part)

    async def finish(self) -> Dependents:
        """Restore what was dropped, and retry what an earlier sync could not restore; then narrow enumerations."""
        await self._restore()
        for step in self._narrow:
            await self._narrowed(step)
        await self._drop_leftovers()
        for name in self._outcome.broken:
            log.warning(
                "%s cannot be restored after a change of %s; its definition is kept in cd2.broken_dependents "
                "and retried at each sync.",
                name,
                self._table,
            )
        return self._outcome

    # -- inside ------------------------------------------------------------------------------------

    async def _run(self, statements: str) -> None:
        """Run DDL. What blocks it is dropped: first the parts on its columns, then the views, then both."""
        try:
            return await self._try(statements, blocked=False)
        except asyncpg.PostgresError as error:
            refused = _blocked(error)
        unable: TableFailure | None = None
        try:
            return await self._try(statements, blocked=True)
        except asyncpg.PostgresError as error:
            only_views = str(_blocked(error)) == str(refused)
            refused = error
        except TableFailure as failure:
            only_views, unable = True, failure
        if self._saved is None and str(refused.sqlstate).startswith(_BY_VIEWS):
            await with_patience(self._save_and_drop, self._table)
            for blocked in (False, True) if only_views else (True,):
                try:
                    return await self._try(statements, blocked=blocked)
                except asyncpg.PostgresError as error:
                    refused = _blocked(error)
        if unable:
            raise unable
        raise await _named(self._connection, self._table, self._touched, refused)

    async def _restore(self) -> None:
        outcomes = [self._outcome]
        if self._saved is not None:
            outcomes.append(await dependents.restore(self._connection, self._saved))
        outcomes.append(await parts.restore_parts(self._connection, self._table, self._set_aside))
        self._saved, self._set_aside = None, ()
        retried = [
            await dependents.retry_broken(self._connection, self._table),
            await parts.retry_parts(self._connection, self._table),
        ]
        again = {name for outcome in retried for name in outcome.restored}
        broken = {name: None for outcome in (*outcomes, *retried) for name in outcome.broken if name not in again}
        restored = {name: None for outcome in (*outcomes, *retried) for name in outcome.restored if name not in broken}
        self._outcome = Dependents(tuple(restored), tuple(broken))

    async def _try(self, statements: str, *, blocked: bool) -> None:
        """Run DDL in a savepoint, without the parts that block it; they are recreated before any row is written."""

        async def run() -> None:
            async with self._transaction():
                dropped = await parts.drop_parts(self._connection, self._table, self._touched, blocked=blocked)
                await self._connection.execute(statements)
                outcome = await parts.restore_parts(self._connection, self._table, dropped)
            self._outcome = _together(self._outcome, outcome)

        await with_patience(run, self._table)

    def _transaction(self) -> briefly:
        return briefly(self._connection)

    async def _save_and_drop(self) -> None:
        async with self._transaction():
            self._saved = await dependents.save_and_drop(self._connection, self._table)

    async def _narrowed(self, step: NarrowEnum) -> None:
        """Drop values of an enumeration, if everything else stays as it is: an extra value does no harm."""
        reason = "rows still hold it"
        if not await self._holds(step):
            again = Alteration(self._connection, self._table, Touched(changed=(step.column,)))
            try:
                async with self._connection.transaction():
                    await again._run(step.sql)
                    await again._restore()
                    if lost := set(again._outcome.broken) - set(self._outcome.broken):
                        raise _NotAsItWas(", ".join(sorted(lost)))
                self._outcome = _together(self._outcome, Dependents(again._outcome.restored))
                self.altered = True
                return
            except _NotAsItWas as error:
                reason = f"{error} could not be restored without it"
            except TransientError as error:
                reason = _plain(error)
            except (TableFailure, asyncpg.PostgresError) as error:
                if isinstance(error, asyncpg.PostgresError):
                    raise_if_temporary(error)
                named = await parts.obstacles(self._connection, self._table, again._touched)
                reason = f"another object uses the type ({', '.join(n.what for n in named) or _plain(error)})"
                if isinstance(error, asyncpg.InsufficientPrivilegeError):
                    reason = f"the replication role may not recreate the type as it is ({_plain(error)})"
        note = (
            f"{self._table}: the schema of {step.type} no longer has the value {', '.join(step.removed)}, "
            f"but {reason}: the value stays."
        )
        log.warning("%s", note)
        self.notes += (note,)

    async def _holds(self, step: NarrowEnum) -> bool:
        """Whether a row holds a value that is to go; or nobody knows, because a foreign table inherits from ours."""
        try:
            async with self._connection.transaction():
                return bool(await self._connection.fetchval(step.check_sql))
        except asyncpg.PostgresError as error:
            log.info("%s: whether a row holds %s is not known: %s", self._table, step.removed, without_values(error))
            return False

    async def _drop_leftovers(self) -> None:
        """Drop what no column uses any more, unless something else does."""
        for statement in self._leftovers:
            if statement.startswith("DROP TABLE") and self._outcome.broken:
                continue  # a view that was written for the client's table of values
            try:
                async with self._transaction():
                    await self._connection.execute(statement)
            except (
                asyncpg.DependentObjectsStillExistError,
                asyncpg.InsufficientPrivilegeError,
                asyncpg.LockNotAvailableError,
            ) as error:
                log.info("%s: a type that it no longer uses stays: %s", self._table, without_values(error))


async def add(connection: asyncpg.Connection, statements: str, table: TableName, columns: Sequence[str]) -> None:
    """Run DDL that only adds, in a transaction of its own.

    :param columns: all columns of the table.
    :raises TableFailure: an object is in the way; names it, and what to do.
    :raises TransientError: other sessions hold the table for `LOCK_PATIENCE_S` seconds.
    """

    async def run() -> None:
        async with briefly(connection):
            await connection.execute(statements)

    try:
        await with_patience(run, table)
    except asyncpg.PostgresError as error:
        raise await _named(connection, table, Touched(changed=tuple(columns)), _blocked(error), adding=True) from None


def _plain(error: asyncpg.PostgresError | Cd2Error) -> str:
    return without_table(error.message).rstrip(".") if isinstance(error, Cd2Error) else without_values(error)


def _together(first: Dependents, second: Dependents) -> Dependents:
    return Dependents(
        tuple(dict.fromkeys((*first.restored, *second.restored))), tuple(dict.fromkeys((*first.broken, *second.broken)))
    )


def _blocked(error: asyncpg.PostgresError) -> asyncpg.PostgresError:
    """The error, if another object may be its cause.

    :raises asyncpg.PostgresError: it is not.
    """
    if not str(error.sqlstate).startswith(_BLOCKED) or error.sqlstate in _NOT_BLOCKED or raised_by_code(error):
        raise error
    return error


async def _named(
    connection: asyncpg.Connection,
    table: TableName,
    touched: Touched,
    refused: asyncpg.PostgresError,
    *,
    adding: bool = False,
) -> Exception:
    """The failure that names what is in the way; without anything to name, PostgreSQL's own."""
    async with connection.transaction():
        named = await parts.obstacles(connection, table, touched, adding=adding)
    if not named:
        return refused
    return TableFailure.because_of(
        refused,
        f"{table}: its schema changed, but objects that only you can drop block the change: "
        f"{'; '.join(f'{obstacle.what} ({obstacle.command})' for obstacle in named)}. Run the statements, clear the "
        "task, and recreate the objects as you need them. Nothing was changed.",
    )
