"""A table at one moment, as its rows are read: events, schema versions, and each row's last event."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from dataclasses import dataclass

from local.simulator.catalogue import TableDefinition
from local.simulator.data.columns import Column

DELETED = 0x8000
"""The bit of a row's last event that says that the event deleted it."""


@dataclass(frozen=True)
class Event:
    """A moment at which rows were written.

    :param at_ms: the table's data timestamp from then on (ms since 1970); all its rows were written before.
    :param slots, step_ms: the rows' own timestamps are spread over that many slots of that length.
    """

    at_ms: int
    slots: int = 1
    step_ms: int = 1

    def row_ms(self, row: int) -> int:
        """When the row was written."""
        return self.at_ms - 1 - row % self.slots * self.step_ms

    @property
    def earliest_ms(self) -> int:
        """No row was written before."""
        return self.at_ms - 1 - (self.slots - 1) * self.step_ms


@dataclass(frozen=True)
class SchemaVersion:
    """The columns of the rows written by events from `first_event` on."""

    columns: tuple[Column, ...]
    first_event: int
    description: str


@dataclass(frozen=True)
class TableView:
    """A table at one moment, for reading by other threads.

    :param expired: the first so many rows are gone without a word.
    """

    seed: int
    definition: TableDefinition
    versions: tuple[SchemaVersion, ...]
    events: tuple[Event, ...]
    total: int
    touched: array[int] | None
    expired: int = 0

    @property
    def name(self) -> str:
        """`namespace.table`."""
        return f"{self.definition.namespace}.{self.definition.name}"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the present schema, key first."""
        return self.versions[-1].columns

    @property
    def at_ms(self) -> int:
        """The table's data timestamp."""
        return self.events[-1].at_ms

    def version_of(self, event: int) -> int:
        """The index of the schema version that rows of an event were written with."""
        return bisect_right([version.first_event for version in self.versions], event) - 1


def stable_number(*parts: object) -> int:
    """A number that depends only on its arguments, on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big")
