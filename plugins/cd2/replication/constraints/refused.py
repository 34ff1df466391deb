"""What PostgreSQL refused because of something that users created: named from the catalog, not in the error's words."""

from __future__ import annotations

import re
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.constraints import catalog, other_objects
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from cd2.replication.failures import classify
from cd2.replication.names import TableName
from cd2.replication.sqlerrors.quoting import condition, quoted, raised_by_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cd2.replication.constraints.catalog import Constraint

SHOWN = 20
"""How many objects a sentence names."""
_OF_VALUES = ("0A", "22", "23", "27", "28", "38", "39", "3D", "42", "54")
"""Beginnings of the SQLSTATEs that an expression may raise for a value. We are logged in: no login is meant."""
_TOO_LARGE = "54000"
_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_CALL = re.compile(rf"{_NAME}(?:\.{_NAME})?\([^()]*\)")
_QUOTED = re.compile(r'["»„“«]([^"»„“”«\n]+)["»“”«]')


class told:  # noqa: N801 - reads as what it does: async with told(connection, table, "canvas.users: sync"):
    """Names what people made, if PostgreSQL refused the block because of it.

    :param connection: outside of a transaction.
    :param what: begins the sentence.
    """

    def __init__(self, connection: asyncpg.Connection, table: TableName, what: str) -> None:
        self._connection = connection
        self._table = table
        self._what = what

    async def __aenter__(self) -> None:
        """Nothing to do."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise the failure.

        :raises TableFailure: it is because of something that users created.
        """
        failure = None
        if isinstance(error, asyncpg.PostgresError):
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # the original failure matters more
                failure = await _explained(self._connection, self._table, self._what, error)
        if failure:
            raise failure from None


async def constraint_failure(
    connection: asyncpg.Connection,
    table: TableName,
    columns: Mapping[str, bool],
    error: asyncpg.IntegrityConstraintViolationError,
) -> Exception:
    """What a violated constraint means; the error itself, if it is none that users created.

    :param columns: those of Canvas, and whether DAP always has a value for them.
    """
    if raised_by_code(error):
        return error
    if found := await catalog.named(connection, table, error):
        return violated(table, found[0]) or error
    if error.sqlstate == "23502" and error.table_name and error.column_name:
        here = (error.schema_name, error.table_name) == (table.namespace, table.table)
        row = await connection.fetchrow(_COLUMN, error.schema_name, error.table_name, error.column_name)
        if row and here and not columns.get(error.column_name, True):
            undo = "ALTER COLUMN {name} DROP IDENTITY" if row["identity"] else "REPLICA IDENTITY DEFAULT"
            return TableFailure.because_of(
                error,
                f"{table}: its column {row['name']} requires a value, because a user made it an identity or a part of "
                "the replica identity, and rows of Canvas have none. Nothing was changed. Run ALTER TABLE "
                f"{row['table']} {undo.format(**row)}, then clear the task.",
            )
        if row and not (here and error.column_name in columns):
            return TableFailure.because_of(
                error,
                f"{table}: the column {row['name']} of {row['table']}, which a user created and {row['owner']} owns, "
                "requires a value, and the rows of Canvas have none for it. Nothing was changed. Give it a default, or "
                f"run ALTER TABLE {row['table']} ALTER COLUMN {row['name']} DROP NOT NULL, then clear the task.",
            )
    if failure := await other_objects.domain(connection, table, error):
        return failure
    if error.sqlstate == "23514" and not error.constraint_name:
        row = await connection.fetchrow(_PARENT, error.schema_name, error.table_name)
        if row:
            return TableFailure.because_of(
                error,
                f"{table}: the rows of Canvas violate the bounds of {row['name']} as a partition of {row['parent']}, "
                f"which a user made it. Nothing was changed. Run ALTER TABLE {row['parent']} DETACH PARTITION "
                f"{row['name']}, then clear the task.",
            )
    return error


_VIOLATED = {
    "u": ("23505", "two rows would have the same value"),
    "i": ("23505", "two rows would have the same value"),
    "x": ("23P01", "two rows would conflict"),
    "c": ("23514", "a row violates it"),
}


def violated(table: TableName, constraint: Constraint) -> TableFailure | None:
    """The failure of a load whose result violates a constraint; None: it is our own key."""
    if constraint.kind == "p" and constraint.here:
        return None
    made = f"{constraint.label}, which a user created"
    made += f" (the table belongs to {constraint.owner})" if constraint.here else f" ({constraint.owner} owns it)"
    remedy = f"drop it ({constraint.drop})"
    if constraint.kind == "f" and constraint.to_here and not constraint.here:
        sqlstate, why = "23503", f"rows of {constraint.table} refer to rows that Canvas has deleted"
        if constraint.replicated:
            why += ", and tables of Canvas come at different times: the next sync of that one may bring the rest"
        else:
            remedy = f"delete or change those rows, let it be ON DELETE CASCADE or SET NULL, or {remedy}"
    elif constraint.kind == "f" and constraint.here:
        sqlstate, why = "23503", f"rows refer to rows that {constraint.references} does not have"
        if constraint.replicated:
            why += ", and tables of Canvas come at different times: the next sync of that one may bring them"
    elif constraint.here:
        sqlstate, why = _VIOLATED.get(constraint.kind, ("23000", "a row violates it"))
    else:
        sqlstate = _VIOLATED.get(constraint.kind, ("23503", ""))[0] if constraint.kind != "p" else "23505"
        why = f"a trigger or a foreign key changes {constraint.table} together with this table"
    return TableFailure(
        f"{table}: the rows of Canvas violate {made}: {why}. Nothing was changed. If it lasts, {remedy}, then clear "
        "the task.",
        cause="IntegrityConstraintViolationError",
        type=sqlstate,
    )


async def _explained(
    connection: asyncpg.Connection, table: TableName, what: str, error: asyncpg.PostgresError
) -> Cd2Error | None:
    meaning = classify(error, what)
    by_code = raised_by_code(error)
    functions = await _functions(connection, error.context or "")
    if type(meaning) is TransientError and functions:
        # It may be one each time, as when a trigger truncates its own table.
        return TransientError(
            f"{meaning.message} It came from user code: {'; '.join(functions)}. If it lasts, correct, disable or drop "
            "it.",
            cause=meaning.cause,
            type=meaning.type,
        )
    if not isinstance(meaning, TableFailure):
        return None
    if by_code or functions:
        who = "; ".join(functions) or f"one of {await _listed(connection, table) or 'the event triggers'}"
        return TableFailure(
            f"{what} failed: user code raised an error ({condition(error) or 'of its own'}): {who}. Its text is "
            "not shown, because it may hold values of rows. Nothing was changed. Correct, disable or drop it, then "
            "clear the task.",
            cause=type(error).__name__,
            type=condition(error),
        )
    for refusal in (other_objects.publication, other_objects.unidentified):
        if failure := await refusal(connection, table, error):
            return failure
    if failure := await other_objects.owners(connection, table, error, meaning):
        return failure
    of_canvas = (error.context or "").startswith("COPY ")
    if of_canvas or quoted(error) or not error.sqlstate.startswith(_OF_VALUES):
        return None
    if seen := await _listed(connection, table, every_index=error.sqlstate == _TOO_LARGE):
        return TableFailure(
            f"{_said(meaning)} Objects that users added to the table use the same values: {seen}. If one of these "
            "raised the error, drop it, then clear the task.",
            cause=meaning.cause,
            type=meaning.type,
        )
    return None


def _said(meaning: Cd2Error) -> str:
    """A login or a database that is refused is none of ours."""
    where = meaning.message.partition(" failed: ")[0]
    return f"{where} failed: PostgreSQL rejected a value." if isinstance(meaning, StopAll) else meaning.message


async def _functions(connection: asyncpg.Connection, context: str) -> list[str]:
    """The functions of users that were running; a name counts only if there is such a function."""
    rows = await connection.fetch(_FUNCTIONS, _CALL.findall(context), _QUOTED.findall(context)) if context else []
    return [
        f"the function {row['name']}" + (f" of {', '.join(row['triggers'])}" if row["triggers"] else "") for row in rows
    ]


async def _listed(connection: asyncpg.Connection, table: TableName, *, every_index: bool = False) -> str:
    """The objects with code or expressions that people put on a table.

    :param every_index: also those of plain columns: an index holds less than its column.
    """
    labels = [row["label"] for row in await connection.fetch(_SEEING, table.quoted, every_index)]
    more = len(labels) - SHOWN
    return ", ".join(labels[:SHOWN]) + (f" and {more} more" if more > 0 else "")


_COLUMN = """
SELECT quote_ident(attname) AS name, format('%I.%I', nspname, relname) AS table,
       pg_get_userbyid(relowner)::text AS owner, attidentity <> '' AS identity
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = $1 AND relname = $2 AND attname = $3 AND attnum > 0 AND NOT attisdropped"""

_PARENT = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, format('%I.%I', above.nspname, parent.relname) AS parent
FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class parent ON parent.oid = inhparent JOIN pg_namespace above ON above.oid = parent.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relispartition"""

_FUNCTIONS = """
SELECT DISTINCT called.name, ARRAY(
    SELECT format('the trigger %I on %s', tgname, tgrelid::regclass) FROM pg_trigger
    WHERE tgfoid = p.oid AND NOT tgisinternal ORDER BY 1 LIMIT 3) AS triggers
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_language l ON l.oid = prolang
CROSS JOIN LATERAL (
    SELECT format('%I.%I(%s)', nspname, proname, (
        SELECT string_agg(format_type(type, NULL), ',' ORDER BY place)
        FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS a(type, place))) AS name
) AS called
WHERE nspname NOT IN ('pg_catalog', 'information_schema')
  AND (called.name = ANY ($1::text[]) OR p.oid::regprocedure::text = ANY ($1::text[])
       OR lanname = 'sql' AND proname = ANY ($2::text[]))
ORDER BY 1 LIMIT 3"""

_SEEING = """
WITH loaded AS (SELECT to_regclass($1::text)::oid AS oid)
SELECT label FROM (
    SELECT 1 AS place, format('trigger %I', tgname) AS label FROM loaded, pg_trigger
    WHERE tgrelid = loaded.oid AND NOT tgisinternal AND tgenabled <> 'D'
  UNION ALL
    SELECT 2, format('index %I', relname) FROM loaded, pg_index i JOIN pg_class c ON c.oid = indexrelid
    WHERE indrelid = loaded.oid AND ($2 AND NOT indisprimary OR indexprs IS NOT NULL OR indpred IS NOT NULL)
  UNION ALL
    SELECT 3, format('constraint %I', conname) FROM loaded, pg_constraint
    WHERE conrelid = loaded.oid AND contype IN ('c', 'x')
  UNION ALL
    SELECT 4, format(CASE attgenerated WHEN '' THEN 'default of %I' ELSE 'generated column %I' END, attname)
    FROM loaded, pg_attrdef d JOIN pg_attribute a ON attrelid = adrelid AND attnum = adnum WHERE adrelid = loaded.oid
) AS objects ORDER BY place, label"""
