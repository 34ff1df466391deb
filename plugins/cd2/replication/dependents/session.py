"""Runs the statements that recreate views, each in a savepoint and as the role that it belongs to."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from cd2.replication.dependents import journal
from cd2.replication.dependents.catalog import oid_of, read_privileges
from cd2.replication.dependents.view import Step, View, grants, missing_grants
from cd2.replication.sqlerrors.quoting import condition, quoted, raised_by_code

log = logging.getLogger(__name__)

SESSION = {
    "search_path": "pg_catalog, pg_temp",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "xmloption": "content",
    "default_tablespace": "",
}
"""Settings under which names come out qualified, and constants mean the same in every session.

pg_dump uses them for the same reason."""
_TEMPORARY = ("08", "25", "40", "53", "57", "58", "55P03")
"""SQLSTATEs that the view does not cause: connection, transaction, deadlock, resources, shutdown, lock timeout."""
_EXISTS_ALREADY = ("42P07", "42710")
"""SQLSTATEs of a CREATE whose object is there."""
_OTHER_TYPES = ("42704", "42804", "42883")
_NAME = r'(?:\w+|"(?:[^"]|"")+")'
_TYPED_LITERAL = re.compile(rf"('(?:[^']|'')*')::(?:text|character varying|{_NAME}\.{_NAME})(?!\w)")
_NO_SUCH_ROLE = "42704"


@dataclass(frozen=True)
class Failed:
    """A step that failed, and why."""

    step: Step
    error: str


class ViewSession:
    """A connection under the settings of `SESSION` that creates views.

    Every method leaves the role as it was, and raises `asyncpg.PostgresError` for failures that the view did not cause.
    """

    def __init__(self, connection: asyncpg.Connection, role: str) -> None:
        self.connection = connection
        self._role = role

    async def run(self, sql: str, role: str, otherwise: str | None = None) -> None:
        """Run a statement as a role, or if that is refused as ourselves (we may be a superuser).

        :param otherwise: what to run as ourselves instead of the same statement.
        :raises asyncpg.PostgresError: the failure of the first try.
        """
        try:
            return await self._run(sql, role)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError) as error:
            refused = error
        try:
            await self._run(otherwise or sql, None)
        except asyncpg.PostgresError as error:
            raise_if_temporary(error)
            raise refused from None

    async def run_loosely(self, sql: str, role: str, afterwards: str = "") -> None:
        """Run a statement that was written for other types of its columns.

        PostgreSQL writes `state = 'active'` as `state = 'active'::canvas.users__workflow_state`. If that no longer
        fits, because the column is a text now, the literal takes the type of its column again.

        :param afterwards: what to run in addition, if it must be run as ourselves.
        """
        for statement in dict.fromkeys((sql, _TYPED_LITERAL.sub(r"\1", sql))):
            try:
                return await self.run(statement, role, statement + afterwards)
            except asyncpg.PostgresError as error:
                if error.sqlstate not in _OTHER_TYPES:
                    raise
                refused = error
        raise refused

    async def create(self, view: View) -> None:
        """Create a view, without its steps and privileges."""
        owner = '"' + view.owner.replace('"', '""') + '"'
        await self.run_loosely(view.create, view.owner, f";\nALTER {view.kind} {view.sql_name} OWNER TO {owner}")

    async def steps(self, view: View, *, rules: bool = False, again: bool = False) -> list[Failed]:
        """Run the steps after the creation: the rules, or all others but the access control list.

        :param again: the steps failed before; what people have since created themselves counts as done.
        :returns: the steps that failed.
        """
        failures = []
        for step in view.steps:
            if (step.kind == "rule") is rules and (error := await self._try(view, step, again)):
                failures.append(Failed(step, error))
        return failures

    async def privileges(self, view: View) -> list[Failed]:
        """Restore the access control list; default privileges may have added to it.

        :returns: the grants that failed.
        """
        now = await read_privileges(self.connection, view.sql_name)
        if set(now) == set(view.privileges):
            return []
        grantees = ", ".join(sorted({item.grantee for item in now}))
        if grantees:
            await self.run(f"REVOKE ALL ON TABLE {view.sql_name} FROM {grantees} CASCADE", view.owner)
        for step in grants(view):
            if error := await self._try(view, step):
                log.info("%s: %s failed as %s: %s", view.qualified_name, step.sql, step.role, error)
        # If we may not become the grantor, the owner grants instead: nobody must lose a privilege.
        failures = []
        for step in missing_grants(view, await read_privileges(self.connection, view.sql_name)):
            if error := await self._try(view, step):
                failures.append(Failed(step, error))
        return failures

    async def note_failures(self, view: View, failures: Iterable[Failed]) -> None:
        """Note the remaining steps of a view that exists; without any, delete its note."""
        failures = list(failures)
        if failures:
            undone = replace(view, steps=tuple(failure.step for failure in failures))
            relation = await oid_of(self.connection, view.sql_name)
            error = " ".join(f"{failure.step.sql}: {failure.error}" for failure in failures)
            await journal.write(self.connection, undone, relation, error)
        else:
            await journal.forget(self.connection, view)

    async def _try(self, view: View, step: Step, again: bool = False) -> str | None:
        """Run a step.

        :returns: why it failed; None: it is done.
        """
        try:
            await self.run_loosely(step.sql, step.role or view.owner)
        except asyncpg.QueryCanceledError as error:
            # A statement_timeout that is too short for a refresh must not hold back the data.
            if step.kind != "refresh":
                raise
            return without_values(error)
        except asyncpg.PostgresError as error:
            raise_if_temporary(error)
            if again and exists_already(error):
                return None
            if step.kind == "grant" and error.sqlstate == _NO_SUCH_ROLE:
                log.warning("%s: a role no longer exists; skipping its grant: %s", view.qualified_name, step.sql)
                return None
            return without_values(error)
        return None

    async def _run(self, sql: str, role: str | None) -> None:
        async with self.connection.transaction():
            if role is not None:
                await self._become(role)
            await self.connection.execute(sql)
            if role is not None:
                await self._become(self._role)

    async def _become(self, role: str) -> None:
        await self.connection.execute("SELECT pg_catalog.set_config('role', $1, true)", role)


@asynccontextmanager
async def view_session(connection: asyncpg.Connection, **settings: str) -> AsyncIterator[ViewSession]:
    """A savepoint with `SESSION` and further settings, which are reset at its end, however it ends.

    :param connection: inside a transaction.
    """
    wanted = SESSION | settings
    async with connection.transaction():
        names = list(wanted)
        before = [await connection.fetchval("SELECT pg_catalog.current_setting($1)", name) for name in (*names, "role")]
        await connection.fetch(_SET, names, list(wanted.values()))
        yield ViewSession(connection, before.pop())
        # Rolling back a savepoint resets its settings; releasing it does not.
        await connection.fetch(_SET, names, before)


def raise_if_temporary(error: asyncpg.PostgresError) -> None:
    """Raise an error that the view did not cause."""
    if str(error.sqlstate).startswith(_TEMPORARY) and not raised_by_code(error):
        raise error


def exists_already(error: asyncpg.PostgresError) -> bool:
    """Whether the object of a CREATE is there."""
    return error.sqlstate in _EXISTS_ALREADY and not raised_by_code(error)


def without_values(error: asyncpg.PostgresError) -> str:
    """The error for people, without row values."""
    return f"{quoted(error) or type(error).__name__} (SQLSTATE {condition(error) or 'unknown'})."


# Not `pg_catalog.unnest`: with two arrays, unnest is syntax and cannot be qualified.
_SET = "SELECT pg_catalog.set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS s(name, value)"
