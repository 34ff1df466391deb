"""Constraints that users created judge the result of a load, not the way to it.

Rows are deleted first, then written, so a correct change may break a constraint in passing: two rows swap a unique
value, a row refers to one that comes later. Deferrable constraints are deferred. One that refuses nevertheless is
dropped, and recreated as soon as the rows are there, in the same transaction. What the result violates is named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from cd2.replication.constraints import catalog
from cd2.replication.constraints.catalog import Constraint
from cd2.replication.constraints.refused import constraint_failure, violated
from cd2.replication.sqlerrors.quoting import raised_by_code

if TYPE_CHECKING:
    from cd2.replication.dependents.parts import Part
    from cd2.replication.names import TableName
    from cd2.replication.schema.alter import Alteration
    from cd2.replication.schema.model import TableModel

T = TypeVar("T")


async def satisfied(
    connection: asyncpg.Connection,
    model: TableModel,
    alteration: Alteration,
    apply: Callable[[], Awaitable[T]],
    deletes: Callable[[], Awaitable[bool]] | None = None,
) -> T:
    """Apply rows to a table; afterwards no event of a deferred trigger is pending, so that DDL can follow.

    :param connection: inside a transaction.
    :param alteration: of the table, on the same connection.
    :param apply: is called again, after a savepoint was rolled back, if a constraint had to be dropped.
    :param deletes: whether it deletes rows; None: no foreign key can mind.
    :returns: what `apply` returns.
    :raises TableFailure: the rows violate a constraint that users created; names it, its table, and who made it.
    :raises asyncpg.PostgresError: anything else that PostgreSQL rejects.
    """
    table = model.name
    aside = await _set_aside(alteration, await _acting(connection, table, deletes)) if deletes else []
    while True:
        done = False
        try:
            async with connection.transaction():
                await connection.execute("SET CONSTRAINTS ALL DEFERRED")
                outcome = await apply()
                done = True
                await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            break
        except asyncpg.IntegrityConstraintViolationError as error:
            dropped = [] if done or raised_by_code(error) else await _dropped(connection, table, alteration, error)
            if not dropped:
                columns = {column.name: column.required for column in model.columns}
                raise await constraint_failure(connection, table, columns, error) from None
            aside += dropped
    for constraint, part in sorted(aside, key=lambda pair: pair[0].kind == "f"):
        try:
            await alteration.recreate(part)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise violated(table, constraint) or error from None
    return outcome


async def _acting(
    connection: asyncpg.Connection, table: TableName, deletes: Callable[[], Awaitable[bool]]
) -> list[Constraint]:
    """Foreign keys that would delete or change rows of replicated tables which Canvas has not deleted."""
    found = await catalog.acting(connection, table)
    return [constraint for constraint in found if constraint.acts_on_update or await deletes()] if found else []


async def _dropped(
    connection: asyncpg.Connection,
    table: TableName,
    alteration: Alteration,
    error: asyncpg.IntegrityConstraintViolationError,
) -> list[tuple[Constraint, Part]]:
    """Drop the constraint that refused, and what needs its index; nothing, if that cannot help."""
    found = await catalog.named(connection, table, error)
    if not found or found[0].kind not in ("u", "i", "x", "f") or not (found[0].here or found[0].to_here):
        return []
    try:
        return await _set_aside(alteration, found)
    except (asyncpg.DependentObjectsStillExistError, asyncpg.InsufficientPrivilegeError):
        return []


async def _set_aside(alteration: Alteration, constraints: Sequence[Constraint]) -> list[tuple[Constraint, Part]]:
    by_label = {constraint.label: constraint for constraint in constraints}
    dropped = await alteration.set_aside(by_label) if by_label else ()
    return [(by_label[part.label], part) for part in dropped]
