"""What a dictionary says: tables, their columns, and what refers to what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cd2.replication.names import TableName

Source = Literal["foreign key", "documented", "comment", "name"]
"""How it is known that a column refers to a table: by a constraint that users created, by Instructure's documentation,
by the column's comment, or only by its name."""


@dataclass(frozen=True)
class Reference:
    """What the values of a column are keys of.

    :param targets: the table; several: one of them, in each row.
    """

    targets: tuple[TableName, ...]
    source: Source


@dataclass(frozen=True)
class Column:
    """A column.

    :param type: as PostgreSQL's SQL has it.
    :param comment: DAP's description of it.
    :param values: of its enumeration, without the one for values that DAP does not know.
    :param added: people added it; DAP does not have it.
    """

    name: str
    type: str
    required: bool
    key: bool = False
    comment: str = ""
    values: tuple[str, ...] = ()
    added: bool = False
    reference: Reference | None = None


@dataclass(frozen=True)
class Table:
    """A table of the replica.

    :param rows: how many it has; None: unknown.
    :param estimated: `rows` is PostgreSQL's estimate.
    :param state: of `cd2.status`; None: nobody has noted it, or it may not be read.
    """

    name: TableName
    columns: tuple[Column, ...]
    comment: str = ""
    rows: int | None = None
    estimated: bool = False
    state: str | None = None
    checked_at: datetime | None = None
    data_as_of: datetime | None = None
    last_change_at: datetime | None = None
    verified_at: datetime | None = None
    failing_since: datetime | None = None
    schema_version: int | None = None


@dataclass(frozen=True)
class Dictionary:
    """All tables, by name.

    :param at: when it was read, UTC.
    """

    at: datetime
    tables: tuple[Table, ...]
