"""The views that could not be recreated: `cd2.broken_dependents`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from cd2.replication.dependents.view import View
from cd2.replication.names import TableName


@dataclass(frozen=True)
class Broken:
    """A row of the journal.

    :param missing: the view does not exist; otherwise only `view.steps` remain to be done.
    :param relation: oid of the view, if it exists.
    :param fresh: written in this transaction.
    """

    view: View
    missing: bool
    relation: int | None
    fresh: bool


async def read(connection: asyncpg.Connection, table: TableName) -> list[Broken]:
    """The broken views on a table, oldest first."""
    rows = await connection.fetch(
        _SELECT + "tables @> ARRAY[pg_catalog.format('%I.%I', $1::text, $2::text)] "
        "AND NOT definition ? 'part' ORDER BY id",
        table.namespace,
        table.table,
    )
    return [_broken(row) for row in rows]


async def read_details(connection: asyncpg.Connection, relations: Sequence[int]) -> dict[int, Broken]:
    """The remaining steps of existing views, by oid."""
    rows = await connection.fetch(_SELECT + "NOT missing AND relation = ANY ($1::oid[]) ORDER BY id", relations)
    return {row["relation"]: _broken(row) for row in rows}


async def write(connection: asyncpg.Connection, view: View, relation: int | None, error: str) -> None:
    """Note that a view is missing (`relation` None), or that its `view.steps` remain to be done."""
    await connection.execute(
        "INSERT INTO cd2.broken_dependents AS known "
        "(schema_name, view_name, tables, missing, relation, definition, error) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) "
        "ON CONFLICT (schema_name, view_name) DO UPDATE SET tables = EXCLUDED.tables, missing = EXCLUDED.missing, "
        "relation = EXCLUDED.relation, definition = EXCLUDED.definition, error = EXCLUDED.error, tried_at = now()",
        view.schema,
        view.name,
        list(view.tables),
        relation is None,
        relation,
        json.dumps(view.to_json()),
        error,
    )


async def forget(connection: asyncpg.Connection, view: View) -> None:
    """Remove a view's row, if there is one."""
    await connection.execute(
        "DELETE FROM cd2.broken_dependents WHERE schema_name = $1 AND view_name = $2", view.schema, view.name
    )


_SELECT = "SELECT definition::text, missing, relation, tried_at = now() AS fresh FROM cd2.broken_dependents WHERE "


def _broken(row: asyncpg.Record) -> Broken:
    return Broken(View.from_json(json.loads(row["definition"])), row["missing"], row["relation"], row["fresh"])
