"""Running the statements that make views, each in a savepoint and as the role whose statement it is."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from cd2.replication.dependents import journal
from cd2.replication.dependents.catalog import oid_of, read_privileges
from cd2.replication.dependents.view import Step, View, grants, missing_grants

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
"""Settings under which every name comes out qualified, and every constant reads the same in another session.

PostgreSQL's own dump uses them for the same reason."""
_PASSING = ("08", "25", "40", "53", "57", "58", "55P03")
"""SQLSTATEs that say nothing about the view: connection, transaction, deadlock, resources, shutdown, lock timeout."""
_EXISTS_ALREADY = ("42P07", "42710")
_NO_SUCH_ROLE = "42704"


@dataclass(frozen=True)
class Failed:
    """A step that could not be done, and why."""

    step: Step
    error: str


class ViewSession:
    """A connection under the settings of `SESSION`, which makes views.

    Every method leaves the role as it was. All raise `asyncpg.PostgresError` where the failure is not the view's.
    """

    def __init__(self, connection: asyncpg.Connection, role: str) -> None:
        self.connection = connection
        self._role = role

    async def run(self, sql: str, role: str, otherwise: str | None = None) -> None:
        """Run a statement as a role, or else as ourselves (a superuser may what an owner may no longer).

        :param otherwise: what to run as ourselves, if that is not the same statement.
        :raises asyncpg.PostgresError: what the role met.
        """
        try:
            return await self._run(sql, role)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError) as error:
            refused = error
        try:
            await self._run(otherwise or sql, None)
        except asyncpg.PostgresError as error:
            raise_if_passing(error)
            raise refused from None

    async def create(self, view: View) -> None:
        """Create a view, still bare."""
        owner = '"' + view.owner.replace('"', '""') + '"'
        await self.run(view.create, view.owner, f"{view.create};\nALTER {view.kind} {view.sql_name} OWNER TO {owner}")

    async def steps(self, view: View, *, rules: bool = False, again: bool = False) -> list[Failed]:
        """Do what comes after the creation: the rules, or all the rest but the access control list.

        :param again: the steps failed before; what people have made themselves meanwhile counts as done.
        :returns: what could not be done.
        """
        failures = []
        for step in view.steps:
            if (step.kind == "rule") is rules and (error := await self._try(view, step, again)):
                failures.append(Failed(step, error))
        return failures

    async def privileges(self, view: View) -> list[Failed]:
        """Make the access control list what it was: default privileges may have added to it.

        :returns: what could not be granted.
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
        # Where the grantor may not be impersonated, the owner gives: nobody must lose what he had.
        failures = []
        for step in missing_grants(view, await read_privileges(self.connection, view.sql_name)):
            if error := await self._try(view, step):
                failures.append(Failed(step, error))
        return failures

    async def account(self, view: View, failures: Iterable[Failed]) -> None:
        """Note what is still to be done to a view that exists, or that it is as it was."""
        failures = list(failures)
        if failures:
            undone = replace(view, steps=tuple(failure.step for failure in failures))
            relation = await oid_of(self.connection, view.sql_name)
            error = " ".join(f"{failure.step.sql}: {failure.error}" for failure in failures)
            await journal.write(self.connection, undone, relation, error)
        else:
            await journal.forget(self.connection, view)

    async def _try(self, view: View, step: Step, again: bool = False) -> str | None:
        """Run a step; None if it is done, else why it is not."""
        try:
            await self.run(step.sql, step.role or view.owner)
        except asyncpg.QueryCanceledError as error:
            # A statement_timeout that is too short for a refresh must not hold back the data.
            if step.kind != "refresh":
                raise
            return told(error)
        except asyncpg.PostgresError as error:
            raise_if_passing(error)
            if again and error.sqlstate in _EXISTS_ALREADY:
                return None
            if step.kind == "grant" and error.sqlstate == _NO_SUCH_ROLE:
                log.warning("%s: a role is gone, and its grant with it: %s", view.qualified_name, step.sql)
                return None
            return told(error)
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
    """Work on views in a savepoint, with `SESSION` and further settings; all are put back at its end, however it ends.

    :param connection: inside a transaction.
    """
    wanted = SESSION | settings
    async with connection.transaction():
        names = list(wanted)
        before = [await connection.fetchval("SELECT pg_catalog.current_setting($1)", name) for name in (*names, "role")]
        await connection.fetch(_SET, names, list(wanted.values()))
        yield ViewSession(connection, before.pop())
        # A savepoint that is rolled back takes its settings along; one that is released would leave them.
        await connection.fetch(_SET, names, before)


def raise_if_passing(error: asyncpg.PostgresError) -> None:
    """Raise an error that is not the view's."""
    if str(error.sqlstate).startswith(_PASSING):
        raise error


def told(error: asyncpg.PostgresError) -> str:
    """The error for people, without values of rows."""
    if str(error.sqlstate).startswith(("22", "23", "P0")):
        return f"{type(error).__name__} (SQLSTATE {error.sqlstate})."
    return f"{str(error).splitlines()[0]} (SQLSTATE {error.sqlstate})."


# Not `pg_catalog.unnest`: with two arrays it is syntax, and has no schema.
_SET = "SELECT pg_catalog.set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS s(name, value)"
