"""A table through time: which rows exist, when each was touched last, and the versions of its schema.

A row is a number. Which rows an event touches follows from the event (an affine walk over all rows), so that events
need no lists; two bytes a row remember the last event, and only once there has been one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from local.simulator.catalogue import TableDefinition
from local.simulator.data.alteration import altered
from local.simulator.data.view import DELETED, Event, SchemaVersion, TableView, stable_number
from local.simulator.errors import ControlError

GROUP_SIZE = 4
_BASE_SPREAD = (997, 86_400)  # first rows: the day before the table's first timestamp


@dataclass
class Changes:
    """What an event did."""

    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    unseen_deletes: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


@dataclass
class Table:
    """The mutable state of one table.

    :param initial_rows: rows before the first event.
    :param created_ms: the data timestamp of the first rows, in ms since 1970.
    :param expired: the first so many rows are gone without a word.
    """

    seed: int
    definition: TableDefinition
    initial_rows: int
    created_ms: int
    versions: list[SchemaVersion] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    total: int = 0
    live: int = 0
    touched: array[int] | None = None
    last_deleted: int | None = None
    expired: int = 0

    def __post_init__(self) -> None:
        values = iter(range(len(self.definition.columns)))
        columns = tuple(
            column if column.key else replace(column, group=next(values) // GROUP_SIZE)
            for column in self.definition.columns
        )
        words = self.definition.name.replace("_", " ")
        self.versions = [SchemaVersion(columns, 0, f"This table holds the {words}.")]
        self.events = [Event(self.created_ms, *_BASE_SPREAD)]
        self.total = self.live = self.initial_rows

    @property
    def name(self) -> str:
        """`namespace.table`."""
        return f"{self.definition.namespace}.{self.definition.name}"

    def view(self) -> TableView:
        """The table as it is now; later changes do not show in it."""
        touched = None if self.touched is None else self.touched[:]
        versions, events = tuple(self.versions), tuple(self.events)
        return TableView(self.seed, self.definition, versions, events, self.total, touched, self.expired)

    # -- rows -----------------------------------------------------------------------------------------------------

    def advance(self, at_ms: int, inserts: int, updates: int, deletes: int) -> Changes:
        """Let time pass: rows are added, changed and deleted.

        A few more deletes than asked for concern rows nobody has seen (written and deleted in between), and one row
        that was deleted before comes back as one of the inserts.

        :raises ControlError: the table has had as many events as it can have.
        """
        if self.definition.append_only:
            updates = deletes = 0
        if not (inserts or updates or deletes):
            return Changes()
        event, touched = self._new_event(at_ms)
        done = Changes()
        before = self.total
        revived = self.last_deleted
        for row in self._walk(event, before):
            if done.updates >= updates and done.deletes >= deletes:
                break
            if row < self.expired or touched[row] & DELETED:
                continue
            if done.updates < updates:
                touched[row] = event
                done.updates += 1
            else:
                touched[row] = event | DELETED
                self.last_deleted = row
                done.deletes += 1
        if inserts and revived is not None and touched[revived] & DELETED and touched[revived] != event | DELETED:
            touched[revived] = event
            done.inserts += 1
            if self.last_deleted == revived:
                self.last_deleted = None
        added = inserts - done.inserts
        unseen = 1 if done.deletes else 0
        touched.extend(array("H", [event]) * added)
        touched.extend(array("H", [event | DELETED]) * unseen)
        done.inserts += added
        done.unseen_deletes = unseen
        self.total += added + unseen
        self.live += done.inserts - done.deletes
        return done

    def expire(self, at_ms: int, rows: int, *, told: bool) -> int:
        """Let the oldest rows become older than what the service keeps.

        :param told: changes have a D for each of them; otherwise they only vanish.
        :returns: how many there were to expire.
        :raises ControlError: the table has had as many events as it can have.
        """
        event, touched = self._new_event(at_ms)
        oldest = [row for row in range(self.expired, self.total) if not touched[row] & DELETED][:rows]
        if told:
            for row in oldest:
                touched[row] = event | DELETED
        elif oldest:
            self.expired = oldest[-1] + 1
        self.live -= len(oldest)
        return len(oldest)

    def _new_event(self, at_ms: int) -> tuple[int, array[int]]:
        event = len(self.events)
        if event >= DELETED:
            raise ControlError(f"{self.name} has had {DELETED - 1} events; start with a new state directory")
        at_ms = max(at_ms, self.events[-1].at_ms + 2)
        slots = min(997, at_ms - self.events[-1].at_ms - 1)
        if self.touched is None:
            self.touched = array("H", bytes(2 * self.total))
        self.events.append(Event(at_ms, slots))
        return event, self.touched

    def _walk(self, event: int, rows: int) -> Iterator[int]:
        """All rows once, in an order of the event's own."""
        if not rows:
            return
        number = stable_number(self.seed, self.name, event)
        step = int(rows * 0.6180339887) + number % 97 or 1
        while math.gcd(step, rows) != 1:
            step += 1
        row = number % rows
        for _ in range(rows):
            yield row
            row = (row + step) % rows

    def _rewrite_all(self, at_ms: int) -> None:
        event, touched = self._new_event(at_ms)
        for row in range(self.total):
            if row >= self.expired and not touched[row] & DELETED:
                touched[row] = event

    # -- schema ---------------------------------------------------------------------------------------------------

    def alter(self, at_ms: int, change: str, arguments: dict[str, Any]) -> int:
        """Change the schema; see `SimulatorControl.alter` for the changes.

        :returns: the new schema version.
        :raises ControlError: the change is unknown or does not fit the table.
        """
        version, backfill = altered(self.name, self.versions[-1], len(self.versions) + 1, change, arguments)
        self.versions.append(replace(version, first_event=len(self.events)))
        if backfill and self.live:
            self._rewrite_all(at_ms)
        return len(self.versions)
