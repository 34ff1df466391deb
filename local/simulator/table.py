"""A table through time: which rows exist, when each was touched last, and the versions of its schema.

A row is a number. Which rows an event touches follows from the event (an affine walk over all rows), so that events
need no lists; two bytes a row remember the last event, and only once there has been one.
"""

import hashlib
import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Any

from .catalogue import TableDefinition
from .columns import Column, ColumnType, comment_of

DELETED = 0x8000
GROUP_SIZE = 4
_BASE_SPREAD = (997, 86_400)  # first rows: the day before the table's first timestamp
_DAY_MS = 86_400_000


class ControlError(ValueError):
    """A control request that cannot be done: one sentence."""


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
    """A table at one moment, for reading by other threads."""

    seed: int
    definition: TableDefinition
    versions: tuple[SchemaVersion, ...]
    events: tuple[Event, ...]
    total: int
    touched: array | None

    @property
    def name(self) -> str:
        """namespace.table"""
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


@dataclass
class Changes:
    """What an event did."""

    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    unseen_deletes: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return dict(self.__dict__)


@dataclass
class Table:
    """The mutable state of one table.

    :param initial_rows: rows before the first event.
    :param created_ms: the data timestamp of the first rows, in ms since 1970.
    """

    seed: int
    definition: TableDefinition
    initial_rows: int
    created_ms: int
    versions: list[SchemaVersion] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    total: int = 0
    live: int = 0
    touched: array | None = None
    last_deleted: int | None = None

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
        """namespace.table"""
        return f"{self.definition.namespace}.{self.definition.name}"

    def view(self) -> TableView:
        """The table as it is now; later changes do not show in it."""
        touched = None if self.touched is None else self.touched[:]
        return TableView(self.seed, self.definition, tuple(self.versions), tuple(self.events), self.total, touched)

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
            if touched[row] & DELETED:
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

    def _new_event(self, at_ms: int) -> tuple[int, array]:
        event = len(self.events)
        if event >= DELETED:
            raise ControlError(f"{self.name} has had {DELETED - 1} events; start with a new state directory")
        at_ms = max(at_ms, self.events[-1].at_ms + 2)
        slots = min(997, at_ms - self.events[-1].at_ms - 1)
        if self.touched is None:
            self.touched = array("H", bytes(2 * self.total))
        self.events.append(Event(at_ms, slots))
        return event, self.touched

    def _walk(self, event: int, rows: int) -> Any:
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
            if not touched[row] & DELETED:
                touched[row] = event

    # -- schema ---------------------------------------------------------------------------------------------------

    def alter(self, at_ms: int, change: str, arguments: dict[str, Any]) -> int:
        """Change the schema; see `SimulatorControl.alter` for the changes.

        :returns: the new schema version.
        :raises ControlError: the change is unknown or does not fit the table.
        """
        backfill = bool(arguments.get("backfill"))
        column_name = arguments.get("column", "")
        columns = list(self.versions[-1].columns)
        description = self.versions[-1].description
        index = next((i for i, column in enumerate(columns) if column.name == column_name), None)
        if change == "comment" and not column_name:
            description = str(arguments.get("text", ""))
        elif change == "add_column":
            columns.append(self._added(index, column_name, arguments))
            backfill = backfill or not columns[-1].nullable
        elif index is None:
            raise ControlError(f"{self.name} has no column '{column_name}'")
        elif columns[index].key and change != "comment":
            raise ControlError(f"{self.name}.{column_name} is a key column; only its comment can change")
        elif change == "drop_column":
            del columns[index]
        else:
            columns[index] = _changed(self.name, columns[index], change, arguments)
            backfill = backfill or change in ("not_null", "drop_enum_value", "retype")
        self.versions.append(SchemaVersion(tuple(columns), len(self.events), description))
        if backfill and self.live:
            self._rewrite_all(at_ms)
        return len(self.versions)

    def _added(self, index: int | None, name: str, arguments: dict[str, Any]) -> Column:
        if index is not None or not name:
            raise ControlError(f"{self.name} has a column '{name}' already" if name else "a column needs a name")
        lineage = len(self.versions) + 1
        nullable = bool(arguments.get("nullable", True))
        column_type = _parsed(str(arguments.get("type", "text")))
        return Column(name, column_type, nullable, False, comment_of(name), lineage, 1000 + lineage)


def _parsed(notation: str) -> ColumnType:
    try:
        return ColumnType.parse(notation)
    except ValueError as error:
        raise ControlError(str(error)) from None


_WIDER = {("i16", "i32"), ("i16", "i64"), ("i32", "i64"), ("f32", "f64"), ("string", "text")}


def _changed(table: str, column: Column, change: str, arguments: dict[str, Any]) -> Column:
    where = f"{table}.{column.name}"
    match change:
        case "widen" | "retype":
            new = _parsed(str(arguments.get("type", "")))
            old = column.type
            larger = old.kind == new.kind and (new.size > old.size or new.precision > old.precision)
            fits = old.array == new.array and ((old.kind, new.kind) in _WIDER or larger)
            if change == "widen" and not fits:
                raise ControlError(f"{where} is {old.notation()}; {new.notation()} is not wider (use change 'retype')")
            return replace(column, type=new)
        case "nullable":
            return replace(column, nullable=True)
        case "not_null":
            return replace(column, nullable=False)
        case "comment":
            return replace(column, comment=str(arguments.get("text", "")))
        case "add_enum_value" | "drop_enum_value":
            value = str(arguments.get("value", ""))
            values = column.type.values
            if not values:
                raise ControlError(f"{where} is not an enumeration")
            if (value in values) == (change == "add_enum_value") or not value:
                raise ControlError(
                    f"{where}: the value '{value}' is {'there already' if value in values else 'not there'}"
                )
            changed = (*values, value) if value not in values else tuple(v for v in values if v != value)
            return replace(column, type=replace(column.type, values=changed))
        case _:
            raise ControlError(
                f"unknown change '{change}'; there are add_column, drop_column, widen, retype, nullable, not_null, "
                "add_enum_value, drop_enum_value, comment"
            )


def stable_number(*parts: object) -> int:
    """A number that depends on its arguments only, on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big")
