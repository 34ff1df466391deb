"""A table, a change of its schema, and whatever a user hung on the table: the change is run as a load runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from cd2.replication.errors import Cd2Error
from cd2.replication.load.guard import Guard
from cd2.replication.load.load import Load
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from cd2.replication.schema.alter import Alteration, add
from cd2.replication.schema.model import table_model
from cd2.replication.schema.plan import SchemaPlan, plan_changes

T = TypeVar("T")

TABLE = TableName("canvas", "things")
ENUM = {"type": "string", "enum": ["a", "b", "c"]}
TEXT = {"type": "string"}
SIZED = {"type": "string", "maxLength": 50}
ID = {"type": "integer", "format": "int64"}
NUMBER = {"type": "integer", "format": "int32"}
VALUES = {"state": ENUM, "name": SIZED, "n": NUMBER, "words": {"type": "array", "items": TEXT}}


def schema(key: dict[str, Any] | None = None, required: list[str] | None = None, **values: Any) -> dict[str, Any]:
    """A JSON schema as DAP has it; a column that is None is left out."""
    columns = {name: column for name, column in (VALUES | values).items() if column}
    key = key or {"id": ID}
    value = {name: column for name, column in columns.items() if name not in key}

    def part(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"meta": part({}, []), "key": part(key, list(key)), "value": part(value, required or [])},
        "required": ["meta", "key"],
        "additionalProperties": False,
    }


BEFORE = schema()
CHANGES = {
    "an enumeration value is dropped": schema(state={"type": "string", "enum": ["a", "b"]}),
    "an enumeration becomes a text": schema(state=TEXT),
    "a number becomes a text, a text longer": schema(n=TEXT, name={"type": "string", "maxLength": 90}),
    "the column is dropped": schema(state=None),
    "the column is required": schema(required=["state"]),
    "the key is another": schema(key={"id": ID, "state": ENUM}),
}


@dataclass(frozen=True)
class Hung:
    """What a user hung on the table.

    :param sql: makes it.
    :param probe: tells how it is now; NULL: it is gone.
    :param becomes: what each change of `CHANGES` makes of it, in that order: `kept` as it was; `follows` (its
        text is for the new type); `noted` (it cannot be, and is kept in cd2.broken_dependents); `named` (nothing was
        changed, the sentence says how to drop it); `gone` with its column.
    :param keeps_value: a dropped value of the enumeration stays because of it.
    :param drop: the statement in the sentence.
    """

    sql: str
    probe: str
    becomes: str = "kept kept kept kept kept kept"
    keeps_value: bool = False
    drop: str = ""


@dataclass
class Outcome:
    """What a change did.

    :param failure: why nothing was changed; None: it was.
    """

    before: str | None
    after: str | None
    dependents: Dependents = field(default_factory=Dependents)
    failure: Cd2Error | None = None
    noted: tuple[str, ...] = ()
    type: str | None = None


async def plan_of(
    connection: asyncpg.Connection, described: dict[str, Any], before: dict[str, Any] = BEFORE
) -> SchemaPlan:
    """What a load plans when the schema has become another."""
    previous = table_model(TABLE, before, 1).description
    return await plan_changes(connection, table_model(TABLE, described, 2), previous)


async def change(
    connection: asyncpg.Connection, described: dict[str, Any], before: dict[str, Any] = BEFORE
) -> Dependents:
    """Change the table as a load does, without any row of the load."""
    model = table_model(TABLE, described, 2)
    plan = await plan_of(connection, described, before)
    if plan.additive:
        await add(connection, plan.additive, TABLE, [column.name for column in model.columns])
    async with connection.transaction():
        alteration = Alteration(connection, TABLE, plan.touched, plan.leftovers)
        if plan.key_differs:
            await alteration.set_references_aside()
        for statements in (plan.breaking, plan.replace_key):
            if statements:
                await alteration.run(statements)
        await Load(connection, plan, model, None, alteration, Guard())._run_closing(Cd2Error)  # type: ignore[arg-type]
        return await alteration.finish()


async def make_table(connection: asyncpg.Connection, objects: str) -> None:
    """Make the table with two rows, and hang objects on it."""
    made = await plan_changes(connection, table_model(TABLE, BEFORE, 1), None)
    await connection.execute(made.create)
    await connection.execute(made.add_key)
    await connection.execute(f"INSERT INTO {TABLE.quoted} VALUES (1, 'a', 'x', 1, '{{}}'), (2, 'b', 'y', 2, NULL)")
    await connection.execute(objects)


def try_change(dsn: str, objects: str, probe: str, described: dict[str, Any]) -> Outcome:
    """Make the table with two rows, hang objects on it, change it; everything is rolled back.

    :param probe: its value tells of the objects; None: they are gone.
    """

    async def work(connection: asyncpg.Connection) -> Outcome:
        await make_table(connection, objects)
        outcome = Outcome(await connection.fetchval(probe), None)
        try:
            outcome.dependents = await change(connection, described)
        except Cd2Error as failure:
            outcome.failure = failure
        outcome.after = await connection.fetchval(probe)
        rows = await connection.fetch("SELECT view_name FROM cd2.broken_dependents")
        outcome.noted = tuple(row["view_name"] for row in rows)
        outcome.type = await connection.fetchval(
            "SELECT coalesce((SELECT enum_range(NULL::canvas.things__state)::text), '') "
            if await connection.fetchval("SELECT to_regtype('canvas.things__state') IS NOT NULL")
            else "SELECT NULL::text"
        )
        return outcome

    return rolled_back(dsn, work)


def rolled_back(dsn: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do something in a transaction that is rolled back."""

    async def run() -> T:
        connection = await asyncpg.connect(dsn)
        try:
            transaction = connection.transaction()
            await transaction.start()
            try:
                return await work(connection)
            finally:
                await transaction.rollback()
        finally:
            await connection.close()

    return asyncio.run(run())
