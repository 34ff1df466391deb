"""Whether the rows of a table that is only ever added to fit a new schema: they may exist nowhere else."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.errors import TableFailure
from cd2.replication.names import quote_identifier

if TYPE_CHECKING:
    from cd2.replication.schema.model import ColumnModel, TableModel

_TYPES = """
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = to_regclass($1::text) AND attname = ANY($2::text[]) AND NOT attisdropped"""
_TEXTS = ("character", "text")
"""Beginnings of the types that are texts."""


async def check_types(connection: asyncpg.Connection, model: TableModel, columns: Collection[str]) -> None:
    """Check that the values of columns survive their new types: PostgreSQL would round numbers and cut texts.

    :param columns: those that get another type.
    :raises TableFailure: some do not.
    """
    types = {row["attname"]: row["type"] for row in await connection.fetch(_TYPES, model.name.quoted, list(columns))}
    for column in model.columns:
        old = types.get(column.name)
        if old and _comparable(old, column) and await _changes(connection, model, column, old):
            raise misfit(model, f"values of {column.name} are not of its new type, {column.type}")


def misfit(model: TableModel, what: str) -> TableFailure:
    """Old rows of a table do not fit its new schema.

    :param what: what does not.
    """
    table = model.name.quoted
    return TableFailure(
        f"{model.name}: its schema changed, and {what}. The table is only ever added to ([cd2] append_only_tables), "
        "and DAP may no longer have these rows: none was changed. Correct them, or move the table away (CREATE SCHEMA "
        f"archive; ALTER TABLE {table} SET SCHEMA archive); then clear the task. Without it, a new one is filled from "
        "a snapshot.",
        type="OldRows",
    )


def _comparable(old: str, column: ColumnModel) -> bool:
    """Whether a value that comes back from its new type tells that nothing was lost.

    What is parsed from a text either fits or raises an error; its form may differ.
    """
    if column.json or (column.array and not old.endswith("[]")):
        return False
    return not old.startswith(_TEXTS) or column.type.lower().startswith(("varchar", *_TEXTS))


async def _changes(connection: asyncpg.Connection, model: TableModel, column: ColumnModel, old: str) -> bool:
    name = quote_identifier(column.name)
    there_and_back = f"{name}::text::{column.type}::text::{old}"
    try:
        async with connection.transaction():
            return bool(
                await connection.fetchval(
                    f"SELECT EXISTS (SELECT FROM {model.name.quoted} WHERE {there_and_back} IS DISTINCT FROM {name})"
                )
            )
    except (asyncpg.DataError, asyncpg.CannotCoerceError):
        return True
