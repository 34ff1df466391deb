"""Views on a replicated table: saved, dropped and recreated around a change that PostgreSQL refuses because of them.

All of it happens in the caller's transaction, so nobody ever sees a view missing. Each public function works in a
savepoint of its own: if it raises, nothing has changed and the transaction can continue. It requires PostgreSQL's
default isolation level, READ COMMITTED: what others commit while we wait for a lock must be visible.

*Locks.* Two workers may change two tables that share a view. `DEPENDENTS_LOCK`, an advisory lock that is held until the
end of the transaction, lets only one of them into this module. Views are locked from the top down to the table, in the
order in which readers lock them, so that we wait for readers or they for us, but never both. The remaining case (a
worker that holds a lock on its table while it waits for ours) PostgreSQL ends as a deadlock, and we retry.

*Roles.* A view is dropped and created by its owner (SET LOCAL ROLE), and a grant is given by its grantor: so owner and
grantor come out right, and no right is used that the owner does not have.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import asyncpg

from cd2.replication.dependents import journal, texts
from cd2.replication.dependents.catalog import oid_of, read_views
from cd2.replication.dependents.find import Dependent, check_obstacles, find, table_oid
from cd2.replication.dependents.journal import Broken
from cd2.replication.dependents.session import Failed, ViewSession, raise_if_temporary, view_session, without_values
from cd2.replication.dependents.view import View
from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from cd2.replication.sqlerrors.quoting import quoted

log = logging.getLogger(__name__)

DEPENDENTS_LOCK = 0x6364320003
"""Advisory lock: only one transaction at a time drops or recreates views."""
RESTORE_LOCK_TIMEOUT = "10min"
"""Restoring waits for another worker's commit; giving up would only repeat our whole load."""
RETRY_LOCK_TIMEOUT = "2s"
"""A view that was already broken can wait for the next sync."""
ATTEMPTS = 5


class _ChangedMeanwhile(Exception):
    """The views changed after they were found."""


@dataclass(frozen=True)
class SavedDependents:
    """The views that were dropped, each after those that it selects from."""

    table: TableName
    views: tuple[View, ...]


async def save_and_drop(connection: asyncpg.Connection, table: TableName) -> SavedDependents:
    """Drop all views and materialized views on a table, and remember all that is needed to recreate them.

    :param connection: inside a transaction.
    :returns: what `restore` needs; empty if nothing depends on the table.
    :raises TableFailure: a view could not be recreated as it is (a membership or right is missing), or something other
        than a view is in the way; nothing was dropped.
    :raises asyncpg.PostgresError: `lock_timeout` or a deadlock while waiting for readers; nothing was dropped.
    """
    async with view_session(connection) as session:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", DEPENDENTS_LOCK)
        oid = await table_oid(connection, table)
        found = await _locked(session, table, oid) if oid is not None else []
        if oid is None or not found:
            return SavedDependents(table, ())
        oids = [dependent.oid for dependent in found]
        views = await texts.as_written(connection, oids, await read_views(connection, oids, oid))
        undone = await journal.read_details(connection, [dependent.oid for dependent in found])
        views = [
            view.with_steps(undone[dependent.oid].view.steps) if dependent.oid in undone else view
            for dependent, view in zip(found, views, strict=True)
        ]
        try:
            await _drop(session, found, views)
        except (asyncpg.DependentObjectsStillExistError, asyncpg.InsufficientPrivilegeError) as error:
            which = error.detail if quoted(error) else ""  # names of objects
            raise TableFailure.because_of(
                error,
                f"{table}: its schema changed, so the views on it must be dropped and recreated, but PostgreSQL "
                f"refuses to drop one: {without_values(error)} {which or ''} Remove the cause, then clear the "
                "task. Nothing was changed.",
            ) from None
    return SavedDependents(table, tuple(views))


async def restore(connection: asyncpg.Connection, saved: SavedDependents) -> Dependents:
    """Recreate what `save_and_drop` dropped, in the same transaction.

    A view that can no longer be created (its column is gone, or a view that it selects from is broken) is kept in
    `cd2.broken_dependents`; so are the failed steps of a view that was created (an index, a refresh, ...).

    :returns: the views that are as they were, and those that are not.
    :raises asyncpg.PostgresError: a failure that the view did not cause: connection, deadlock, disk, lock timeout.
    """
    restored: list[str] = []
    broken: list[str] = []
    async with view_session(connection, lock_timeout=RESTORE_LOCK_TIMEOUT) as session:
        made: list[tuple[View, list[Failed]]] = []
        for view in saved.views:
            try:
                await session.create(view)
            except asyncpg.PostgresError as error:
                raise_if_temporary(error)
                await journal.write(connection, view, None, without_values(error))
                broken.append(view.qualified_name)
            else:
                made.append((view, [*await session.steps(view), *await session.privileges(view)]))
        # Rules come last: they may name views above their own.
        for view, failures in made:
            await texts.keep(connection, view)
            failures += await session.steps(view, rules=True)
            await session.note_failures(view, failures)
            (broken if failures else restored).append(view.qualified_name)
        if saved.views:
            await texts.forget_gone(connection)
    return Dependents(tuple(restored), tuple(broken))


async def retry_broken(connection: asyncpg.Connection, table: TableName) -> Dependents:
    """Retry what earlier syncs could not restore; costs one SELECT if there is nothing.

    A view that people have recreated in the meantime, or whose schema they dropped, is forgotten, not overwritten.

    :param connection: inside a transaction, which continues whatever happens to the views.
    :returns: the views that are as they were again, and those that are still broken.
    """
    rows = await journal.read(connection, table)
    if not rows:
        return Dependents()
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", DEPENDENTS_LOCK):
        # Another worker is in here, perhaps with the same views, and may wait for our table: not worth a deadlock.
        return Dependents(broken=tuple(row.view.qualified_name for row in rows))
    restored: list[str] = []
    async with view_session(connection, lock_timeout=RETRY_LOCK_TIMEOUT) as session:
        progress = True
        while progress:
            # A view may need one that broke after it: repeat for as long as that helps.
            progress = False
            for row in await journal.read(connection, table):
                if row.fresh and not row.missing:
                    continue  # already tried in this transaction, and a refresh may take long
                outcome = await _retry(session, row)
                progress |= outcome != "broken"
                if outcome == "restored":
                    restored.append(row.view.qualified_name)
        rows = await journal.read(connection, table)
    return Dependents(tuple(restored), tuple(row.view.qualified_name for row in rows))


# -- inside --------------------------------------------------------------------------------------


async def _retry(session: ViewSession, row: Broken) -> Literal["restored", "made", "broken", "forgotten"]:
    view = row.view
    relation = await oid_of(session.connection, view.sql_name)
    if relation != row.relation or not await _schema_exists(session.connection, view.schema):
        log.warning(
            "%s was broken by a schema change. Somebody has since recreated or dropped it; it is no longer retried.",
            view.qualified_name,
        )
        await journal.forget(session.connection, view)
        return "forgotten"
    try:
        async with session.connection.transaction():
            failures = await _recreate(session, view) if row.missing else await _redo_steps(session, view)
            await session.note_failures(view, failures)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        log.info("%s is still broken; the next sync retries it: %s", view.qualified_name, without_values(error))
        return "broken"
    except asyncpg.PostgresError as error:
        raise_if_temporary(error)
        await journal.write(session.connection, view, None, without_values(error))
        return "broken"
    if failures:
        return "made" if row.missing else "broken"
    return "restored"


async def _recreate(session: ViewSession, view: View) -> list[Failed]:
    await session.create(view)
    await texts.keep(session.connection, view)
    failures = [*await session.steps(view), *await session.privileges(view)]
    return failures + await session.steps(view, rules=True)


async def _redo_steps(session: ViewSession, view: View) -> list[Failed]:
    failures = await session.steps(view, again=True)
    return failures + await session.steps(view, rules=True, again=True)


async def _schema_exists(connection: asyncpg.Connection, schema: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema))


async def _locked(session: ViewSession, table: TableName, oid: int) -> list[Dependent]:
    """Find and lock the dependents of a table, so that nobody changes them while we read their definitions."""
    for _ in range(ATTEMPTS):
        found = await find(session.connection, table, oid)
        await check_obstacles(session.connection, table, found)
        try:
            async with session.connection.transaction():
                for dependent in reversed(found):
                    await session.run(dependent.lock, dependent.owner)
                if await find(session.connection, table, oid) != found:
                    raise _ChangedMeanwhile
        except (_ChangedMeanwhile, asyncpg.UndefinedTableError):
            continue
        return found
    raise TransientError(f"{table}: somebody keeps changing the views on it: it will be retried.")


async def _drop(session: ViewSession, found: list[Dependent], views: list[View]) -> None:
    # Rules first: they may name views above their own.
    for dependent in found:
        for rule in dependent.rules:
            await session.run(f"DROP RULE {rule} ON {dependent.sql_name}", dependent.owner)
    for view in reversed(views):
        for statement in view.detach:
            await session.run(statement, view.owner)
        await session.run(f"DROP {view.kind} {view.sql_name}", view.owner)
