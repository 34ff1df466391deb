"""Which DDL a table lacks, compared with its model: by the official client's mutator, in three parts.

*Additive* DDL commits before the load; *breaking* DDL runs in the load before its rows, *closing* DDL after them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
from pysqlsync.dialect.postgresql.object_types import PostgreSQLTable
from pysqlsync.formation.object_types import Column, Table
from pysqlsync.model.data_types import (
    SqlArrayType,
    SqlDataType,
    SqlIntegerType,
    SqlVariableCharacterType,
    constant,
)

from cd2.replication.database.dialect import Mutator
from cd2.replication.dependents.parts import Touched
from cd2.replication.names import quote_identifier
from cd2.replication.schema.catalog import (
    COLUMNS,
    ENUMS,
    RELATION,
    as_column,
    as_stored,
    collations,
    read_lookups,
    unknown_numbers,
)
from cd2.replication.schema.closing import NarrowEnum, RequireColumns, closing_steps, key_replaced, leftovers, release
from cd2.replication.schema.differences import altered_by_others, left_by_failures, with_comments_of_others
from cd2.replication.schema.model import TableModel
from cd2.replication.schema.naming import described_columns, truncated
from cd2.replication.schema.taken import (
    Adopted,
    adopt,
    check_kind,
    key_clause,
    key_name,
    names_of_types,
    note_loaded,
    read_loaded,
    with_type_names,
)


@dataclass(frozen=True)
class SchemaPlan:
    """The DDL that a table lacks; each part is SQL, or None if there is nothing to do.

    :param relation: PostgreSQL's number of the table; None: it is not in the database.
    :param numbers: its numbers of the columns that the table has and the model, too. None of a generated one, which no
        snapshot can fill: the load says so.
    :param create: creates the table and its types, without the key, which is faster to build over loaded rows.
    :param add_key: adds the primary key.
    :param additive: readers hardly wait for it; new columns are nullable at first.
    :param breaking: changes types and comments, drops columns; dependents may block it.
    :param closing: each step needs rows that allow it.
    :param key_differs: the table's primary key is not the model's.
    :param replace_key: gives the emptied table the model's key.
    :param touched: the columns that `breaking` changes and drops.
    :param kept: columns that DAP no longer has, and that stay.
    :param altered: columns that somebody else has changed since the last load: only a snapshot has all their values.
    :param leftovers: statements that drop types which no column uses any more after `breaking`.
    :param type_names: the names that the enumeration types have or get, by those in the model.
    :param unproven: columns that have values of which nobody knows whether they are Canvas's: a snapshot makes them so.
    :param notes: sentences about columns that the table had before DAP did.
    """

    relation: int | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    create: str = ""
    add_key: str = ""
    additive: str | None = None
    breaking: str | None = None
    closing: tuple[RequireColumns | NarrowEnum, ...] = ()
    key_differs: bool = False
    replace_key: str | None = None
    touched: Touched = field(default_factory=Touched)
    leftovers: tuple[str, ...] = ()
    type_names: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether the table is in the database."""
        return self.relation is not None

    @property
    def changes(self) -> bool:
        """Whether the load has anything to change."""
        return bool(self.create or self.breaking or self.closing or self.key_differs)

    def named(self, model: TableModel) -> TableModel:
        """A model of the same table with the names that its enumeration types really have."""
        return with_type_names(model, self.type_names)


async def plan_changes(
    connection: asyncpg.Connection,
    model: TableModel,
    previous_description: str | None,
    *,
    previous_version: int = 0,
    keep_columns: bool = False,
) -> SchemaPlan:
    """Compare a model with the catalog.

    :param previous_description: the JSON schema that the table last had: only its columns can be dropped, all others
        belong to users.
    :param previous_version: of that schema; 0: not known.
    :param keep_columns: columns that DAP no longer has stay, like those of users.
    :raises TableFailure: something other than a table has its name.
    """
    relation = await connection.fetchrow(RELATION, model.name.namespace, model.name.table)
    names = await names_of_types(connection, model, relation["oid"] if relation else None)
    model = with_type_names(model, names)
    labels = {
        row["name"]: row["labels"]
        for row in await connection.fetch(ENUMS, model.name.namespace, [enum.name.local_id for enum in model.enums])
    }
    new_types = [enum.create_stmt() for enum in model.enums if enum.name.local_id not in labels]
    # For existing types; PostgreSQL forbids using a value in the transaction that adds it.
    new_values = [
        f"ALTER TYPE {enum.name} ADD VALUE IF NOT EXISTS {constant(value)};"
        for enum in model.enums
        for value in enum.values
        if value not in labels.get(enum.name.local_id, enum.values)
    ]
    add_types = new_types + new_values
    if relation is None:
        create = PostgreSQLTable(
            model.target.name, list(model.target.columns.values()), primary_key=(), description=model.target.description
        )
        return SchemaPlan(
            create="\n".join([*new_types, _without_key(create)]),
            add_key=f"ALTER TABLE {model.name.quoted} "
            f"ADD {key_clause(model, await key_name(connection, model, None, None))};",
            additive="\n".join(new_values) or None,
            type_names=names,
        )
    check_kind(model.name, relation["kind"])
    plan = await _changes(
        connection, model, previous_description, previous_version, relation, labels, add_types, keep_columns
    )
    return replace(plan, type_names=names)


async def _changes(
    connection: asyncpg.Connection,
    model: TableModel,
    previous_description: str | None,
    previous_version: int,
    relation: asyncpg.Record,
    labels: Mapping[str, list[str]],
    add_types: list[str],
    keep_columns: bool,
) -> SchemaPlan:
    previous = described_columns(previous_description)
    key = tuple(relation["key"])
    now = {column.name: column.source for column in model.columns}
    found = [dict(row) for row in await connection.fetch(COLUMNS, relation["oid"])]
    renames = _renamed(model, found, previous)
    loaded = await read_loaded(connection, model.name, relation["oid"])
    made = {row["name"] for row in found if loaded and loaded.get(row["name"], 0) == row["number"]}
    others = made - now.keys() - previous.keys()
    ours = now.keys() | await left_by_failures(connection, previous_version, model, others)
    rows = [row for row in found if row["name"] in ours or (row["name"] in previous and not keep_columns)]
    kept = [row for row in found if row["name"] in previous and row not in rows]
    new_names = {name for name, source in now.items() if previous.get(name) != source}
    adopted = Adopted()
    known = bool(previous) or loaded is not None
    if known:
        there = [row for row in rows if row["name"] in new_names and (previous or row["name"] not in made)]
        adopted = await adopt(
            connection, model, {row["name"]: as_column(row) for row in there}, there, made, keep_columns
        )
    elif previous_description is not None:
        adopted = Adopted(unproven=tuple(row["name"] for row in rows))
    target = {column.name.local_id: column for column in model.target.columns.values()}
    source = _table(model, [_with_ours(as_column(row), target) for row in rows], relation["description"])
    model = with_comments_of_others(previous_description, model, source)
    target = {column.name.local_id: column for column in model.target.columns.values()}

    numbered = [name for name, column in target.items() if name in source.columns and not _is_number(column.data_type)]
    lookups = await read_lookups(connection, model.name, relation["oid"], numbered)
    # Step 1: add everything new, make nothing stricter; NOT NULL comes at the end.
    widened = []
    held = {*key, *(row["name"] for row in rows if row["held"])}
    for name, column in source.columns.items():
        nullable = column.nullable or (target.get(name, column).nullable and name not in held)
        widened.append(replace(column, nullable=nullable))
    new = [replace(column, nullable=True) for name, column in target.items() if name not in source.columns]
    wide = _table(model, [*widened, *new], relation["description"])
    # Step 2: change types and comments, drop columns. A comment that came before its schema would count as a user's.
    looked_up = {lookup.column: SqlVariableCharacterType() for lookup in lookups}
    after = {
        column.name.local_id: replace(column, data_type=looked_up.get(column.name.local_id, column.data_type))
        for column in wide.columns.values()
    }
    typed = _table(
        model,
        [replace(column, nullable=after[name].nullable) for name, column in target.items()],
        model.target.description,
    )
    dropped = tuple(name for name in after if name not in typed.columns)
    retyped = tuple(name for name in typed.columns if wide.columns[name].data_type != typed.columns[name].data_type)
    mutator = Mutator({name: given.name for name, given in (await collations(connection, model)).items()})
    breaking: list[str | None] = [lookup.translate for lookup in lookups]
    stays = [column for name, column in after.items() if name not in dropped]
    breaking.append(mutator.mutate_table_stmt(_table(model, stays, wide.description), typed))
    breaking += [as_stored(model.name, row, target[row["name"]].data_type) for row in rows if row["name"] in retyped]
    if dropped:
        # A table that inherits from ours keeps its values.
        drops = ", ".join(f"DROP COLUMN {quote_identifier(name)}" for name in dropped)
        breaking.append(f"ALTER TABLE {model.name.rows} {drops};")
    additive = [*renames, *add_types, *(lookup.release for lookup in lookups), mutator.mutate_table_stmt(source, wide)]
    additive += release(model, [row["name"] for row in kept if row["required"] and row["name"] not in key])
    if any(additive):
        additive.append(note_loaded(model.name, target.keys() - adopted.names))
    altered: tuple[str, ...] = ()
    if retyped or add_types or any(name in previous and name not in source.columns for name in target):
        values = {
            row["name"]: labels[row["type_name"]] for row in rows if row["enumerated"] and row["type_name"] in labels
        }
        altered = altered_by_others(previous_description, model, source, values)
    closing = await closing_steps(connection, model, typed, labels)
    old_key = [name for name in key if name not in {row["name"] for row in rows}]  # kept, or renamed by people
    replace_key = await key_replaced(connection, model, relation, old_key) if key != model.key else None
    return SchemaPlan(
        relation["oid"],
        {row["name"]: row["number"] for row in rows if row["name"] in now and row["number"]},
        additive="\n".join(statement for statement in additive if statement) or None,
        breaking="\n".join(statement for statement in breaking if statement) or None,
        closing=closing,
        key_differs=key != model.key,
        replace_key=replace_key,
        touched=Touched(retyped, dropped),
        leftovers=(
            *await leftovers(connection, model, [row for row in rows if row["name"] in {*retyped, *dropped}]),
            *(lookup.drop for lookup in lookups),
        ),
        kept=tuple(row["name"] for row in kept),
        altered=tuple(name for name in altered if name not in looked_up),
        unproven=(*adopted.unproven, *(lookup.column for lookup in lookups if lookup.incomplete)),
        notes=(*(adopted.notes(model.name) if known else ()), *unknown_numbers(model.name, lookups)),
    )


def _is_number(data_type: SqlDataType) -> bool:
    return isinstance(data_type, SqlIntegerType | SqlArrayType)


def _with_ours(column: Column, target: Mapping[str, Column]) -> Column:
    """The column without what only people have given it: a default, an identity. It stays."""
    wanted = target.get(column.name.local_id)
    return replace(column, identity=False, default=column.default if wanted and wanted.default else None)


def _renamed(model: TableModel, rows: list[dict[str, Any]], previous: Mapping[str, str]) -> list[str]:
    """Statements for columns that have the name to which PostgreSQL itself cut a long one; `rows` get the new names."""
    there = {row["name"]: row for row in rows}
    cut = Counter(truncated(column.source) for column in model.columns)
    statements = []
    for column in model.columns:
        old = truncated(column.source)
        ours = column.name != column.source and previous.get(column.name) == column.source
        if ours and column.name not in there and old in there and cut[old] == 1 and old not in model.target.columns:
            there[old]["name"] = column.name
            statements.append(
                f"ALTER TABLE {model.name.quoted} RENAME COLUMN {quote_identifier(old)} "
                f"TO {quote_identifier(column.name)};"
            )
    return statements


def _without_key(table: Table) -> str:
    """The client's CREATE TABLE without its last line, the key."""
    statement: str = table.create_stmt()
    return statement.replace(f",\n{table.create_keys()}\n);", "\n);", 1)


def _table(model: TableModel, columns: list[Column], description: str | None) -> Table:
    return PostgreSQLTable(model.target.name, columns, primary_key=model.target.primary_key, description=description)
