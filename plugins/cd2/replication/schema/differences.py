"""What differs between the schema that a table had and its new one, for people: `cd2.schema_changes`.

And what differs between that schema and the table, because somebody else has changed it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import asyncpg
from pysqlsync.dialect.postgresql.object_types import PostgreSQLTable
from pysqlsync.formation.object_types import Table
from pysqlsync.model.data_types import (
    SqlArrayType,
    SqlDataType,
    SqlJsonType,
    SqlUserDefinedType,
    SqlVariableCharacterType,
)

from cd2.replication.names import quote_identifier
from cd2.replication.results import SchemaChange
from cd2.replication.schema.model import ColumnModel, TableModel, enum_of, table_model

log = logging.getLogger(__name__)

SHOWN = 5
"""How many values of an enumeration a sentence names."""


def differences(
    before: str | None, version: int | None, after: TableModel, kept: Collection[str] = ()
) -> tuple[SchemaChange, ...]:
    """What changed, column by column; nothing for a table that is new.

    :param before: the JSON schema that the table had; None: there was no table.
    :param version: the version of that schema.
    :param kept: columns that the new schema lacks, and that stay in the table.
    """
    if before is None or before == after.description:
        return ()
    try:
        old = table_model(after.name, json.loads(before), version or 0)
    except Exception as error:  # it tells people something; it must not fail the load
        log.info("The schema that %s had cannot be compared with its new one: %s", after.name, type(error).__name__)
        what = "its schema before cannot be read, so the changes are not known"
        return (SchemaChange("other", str(after.name), what, version),)
    return tuple(replace(change, from_version=version) for change in _differences(old, after, kept))


def altered_by_others(
    before: str | None, model: TableModel, there: Table, values: Mapping[str, Collection[str]]
) -> tuple[str, ...]:
    """Columns that are not as the last load left them: dropped, renamed, or with another type or renamed values.

    Most rows would lack their values then, or have others, because increments bring only what changes.

    :param before: the JSON schema that the table had; None: not known.
    :param there: those columns that the table has and that are or were DAP's.
    :param values: of their enumeration types, by column.
    """
    if (old := _left(before, model)) is None:
        return ()
    found = []
    for column in old.columns:
        if column.name not in model.target.columns:
            continue
        if column.name not in there.columns:
            if column.name not in model.key:  # a table without its key is another case
                found.append(column.name)
        elif _is_other(old.target.columns[column.name].data_type, there.columns[column.name].data_type) or (
            column.name in values and set(_values(old, column)) - set(values[column.name])
        ):
            found.append(column.name)
    return tuple(found)


def with_comments_of_others(before: str | None, model: TableModel, there: Table) -> TableModel:
    """The model with the comments that users have given the table and columns of Canvas, instead of DAP's.

    :param before: the JSON schema that the table had; None: not known.
    :param there: those columns that the table has and that are or were DAP's.
    """
    columns = model.target.columns
    given = [c for c in there.columns.values() if c.description and c.name.local_id in columns]
    given = [c for c in given if c.description != columns[c.name.local_id].description]
    about_all = bool(there.description) and there.description != model.target.description
    if not (given or about_all) or (old := _left(before, model)) is None:
        return model
    was = {name: column.description for name, column in old.target.columns.items()}
    theirs = {c.name.local_id: c.description for c in given if c.description != was.get(c.name.local_id, c.description)}
    kept = [replace(c, description=theirs.get(name, c.description)) for name, c in columns.items()]
    about_all = about_all and there.description != old.target.description
    description = there.description if about_all else model.target.description
    target = PostgreSQLTable(model.target.name, kept, primary_key=model.target.primary_key, description=description)
    return replace(model, target=target)


async def left_by_failures(
    connection: asyncpg.Connection, version: int, model: TableModel, columns: Collection[str]
) -> set[str]:
    """Those of these columns that a load which failed has added: a schema that is newer than the table's has them.

    They are empty; one with a value is in use.

    :param version: of the schema that the table had; 0: not known.
    :param columns: that loads have made, neither in that schema nor in the model.
    """
    if not columns or version in (0, model.version):
        return set()
    found = set()
    for row in await connection.fetch(_ADDED, model.name.namespace, model.name.table, version, list(columns)):
        name = quote_identifier(row["name"])
        if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {model.name.rows} WHERE {name} IS NOT NULL)"):
            found.add(row["name"])
    return found


_ADDED = """
SELECT name FROM unnest($4::text[]) AS name WHERE EXISTS (
    SELECT FROM cd2.schemas WHERE namespace = $1 AND table_name = $2 AND version > $3
        AND (description::jsonb #> '{properties,value,properties}') ? name)"""


def _left(before: str | None, model: TableModel) -> TableModel | None:
    """The table as the last load left it; None: not known."""
    if before == model.description:
        return model
    try:
        return table_model(model.name, json.loads(before or ""), 0)
    except Exception as error:  # what cannot be read tells nothing
        log.info("The schema that %s had cannot be compared with the table: %s", model.name, type(error).__name__)
        return None


def _is_other(ours: SqlDataType, there: SqlDataType) -> bool:
    """Whether a column has got a type that may not hold the values it had.

    Texts hold everything, but what a list is as a text is not known. Enumerations have several forms in databases of
    the official client.
    """
    if isinstance(ours, SqlArrayType) and isinstance(there, SqlArrayType):
        return _is_other(ours.element_type, there.element_type)
    if isinstance(ours, SqlArrayType) or isinstance(there, SqlArrayType):
        return True
    if isinstance(ours, SqlUserDefinedType):
        return False
    if isinstance(there, SqlUserDefinedType) and there.ref.scope_id != "pg_catalog":
        return False
    if isinstance(there, SqlVariableCharacterType):
        limit = ours.limit if isinstance(ours, SqlVariableCharacterType) else None
        return there.limit is not None and (limit is None or there.limit < limit)
    if isinstance(ours, SqlJsonType) and isinstance(there, SqlJsonType):
        return False
    return bool(ours != there)


def _differences(old: TableModel, new: TableModel, kept: Collection[str]) -> Iterator[SchemaChange]:
    was = {column.source: column for column in old.columns}
    now = {column.source: column for column in new.columns}
    for source, column in now.items():
        if source not in was:
            yield SchemaChange("column added", column.name, f"column {column.name} added ({_described(column)})")
        else:
            yield from _changed(old, was[source], new, column)
    for source, column in was.items():
        if source in now:
            continue
        if column.name in kept:
            what = f"DAP no longer has the column {column.name}: it stays, with its old values"
            yield SchemaChange("column kept", column.name, what)
        else:
            yield SchemaChange("column dropped", column.name, f"column {column.name} dropped ({_described(column)})")
    if old.key != new.key:
        what = f"primary key: {', '.join(old.key)} -> {', '.join(new.key)}"
        yield SchemaChange("key", str(new.name), what)
    if old.target.description != new.target.description:
        yield SchemaChange("comment", str(new.name), "comment of the table changed")


def _changed(old: TableModel, was: ColumnModel, new: TableModel, now: ColumnModel) -> Iterator[SchemaChange]:
    name = now.name
    if was.type != now.type:
        yield SchemaChange("type", name, f"type of {name}: {_plain(was.type)} -> {_plain(now.type)}")
    if was.required != now.required:
        yield SchemaChange("required", name, f"{name} is {'now' if now.required else 'no longer'} required")
    values, values_now = _values(old, was), _values(new, now)
    if values and values_now:
        added = [value for value in values_now if value not in values]
        dropped = [value for value in values if value not in values_now]
        parts = [f"added {some(added)}"] * bool(added) + [f"dropped {some(dropped)}"] * bool(dropped)
        if parts:
            yield SchemaChange("values", name, f"values of {name}: {', '.join(parts)}")
    columns = (old.target.columns[was.name], new.target.columns[name])
    if columns[0].description != columns[1].description:
        yield SchemaChange("comment", name, f"comment of {name} changed")


def _values(model: TableModel, column: ColumnModel) -> tuple[str, ...]:
    """The values of the column's enumeration; none, if it has none."""
    name = enum_of(model.target.columns[column.name])
    return next((tuple(enum.values) for enum in model.enums if enum.name.local_id == name), ())


def _described(column: ColumnModel) -> str:
    return _plain(column.type) + ", required" * column.required


def _plain(sql_type: str) -> str:
    return sql_type.replace('"', "")


def some(values: Sequence[str]) -> str:
    """The first of some values, and how many more there are."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(values[:SHOWN]) + more
