"""The rows of a table as a stream of lines: memory does not grow with the table.

Columns come in groups of four. A group takes one of a few hundred combinations of values, chosen by row and event. Each
combination is encoded once and then looked up, so that a million rows take seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from local.simulator.data.columns import Column
from local.simulator.data.encoding import Tsv, header, moment_text
from local.simulator.data.values import column_value, key_values
from local.simulator.data.view import DELETED, Event, TableView, stable_number

CHUNK = 4096
# Every 37th row of a table with duplicates is delivered twice, first as it was one event earlier.
DUPLICATE_EVERY = 37


def _primes(low: int, high: int) -> list[int]:
    return [n for n in range(low, high) if all(n % d for d in range(2, int(n**0.5) + 1))]


_COMBINATIONS = _primes(211, 700)
_POOL_SIZES = _primes(67, 200)


@dataclass(frozen=True)
class Selection:
    """Which rows of a table: all living ones, or the ones written in [since, until), deleted ones too (ms)."""

    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def incremental(self) -> bool:
        """Whether this selects changes, not a state."""
        return self.since_ms is not None

    @property
    def moments(self) -> range:
        """The milliseconds at which a selected change was written."""
        assert self.since_ms is not None
        assert self.until_ms is not None
        return range(self.since_ms, self.until_ms)


@dataclass(frozen=True)
class Chunk:
    """Lines without their ends, in the order of delivery.

    :param rows: how many rows there are (living and deleted).
    """

    lines: list[bytes]
    rows: int


class _Segments(dict[int, bytes]):
    """Combination number -> the encoded values of a group's columns."""

    def __init__(self, view: TableView, columns: Sequence[Column], written: dict[Any, Column], encoder: Tsv) -> None:
        super().__init__()
        self._view = view
        self._encoder = encoder
        self._columns = [(column, written.get((column.name, column.lineage))) for column in columns]
        self._pools = []
        for column, _ in self._columns:
            number = stable_number(view.seed, view.name, column.name, column.lineage)
            self._pools.append((number % 1009, _POOL_SIZES[number // 1009 % len(_POOL_SIZES)]))

    def typed(self, combination: int) -> list[Any]:
        """The values, before they are encoded."""
        values = []
        for (_, written), (offset, size) in zip(self._columns, self._pools, strict=True):
            number = (combination + offset) % size
            values.append(None if written is None else column_value(self._view.seed, self._view.name, written, number))
        return values

    def __missing__(self, combination: int) -> bytes:
        cells = [self._encoder.cell(value) for value in self.typed(combination)]
        encoded = self._encoder.separator.join(cells)
        self[combination] = encoded
        return encoded


@dataclass(frozen=True)
class _Group:
    columns: tuple[Column, ...]
    size: int
    by_row: int
    by_event: int
    start: int


class RowStream:
    """The lines of a table.

    :param columns: the columns in the order in which they are written; by default all of the present schema.
    """

    def __init__(self, view: TableView, encoder: Tsv, columns: Sequence[Column] | None = None) -> None:
        self.view = view
        self.encoder = encoder
        self.columns = tuple(columns if columns is not None else view.columns)
        self.keys = tuple(column for column in self.columns if column.key)
        self.values = tuple(column for column in self.columns if not column.key)
        # A shortcut for most tables: such a key needs no escaping.
        self._whole_number_key = [column.type.kind for column in self.keys] == ["i64"]
        self._groups = [self._group(columns) for columns in _runs(self.values)]
        self._segments: dict[int, list[_Segments]] = {}
        self._versions = [view.version_of(event) for event in range(len(view.events))]
        self._times: list[dict[int, bytes]] = [{} for _ in view.events]

    def _group(self, columns: tuple[Column, ...]) -> _Group:
        number = columns[0].group
        chance = stable_number(self.view.seed, self.view.name, "group", number)
        size = _COMBINATIONS[(stable_number(self.view.name) + number) % len(_COMBINATIONS)]
        return _Group(columns, size, 1 + chance % (size - 1), 1 + (chance >> 16) % (size - 1), (chance >> 32) % size)

    def header(self, selection: Selection) -> bytes:
        """The first line of an object."""
        return header((*self.keys, *self.values), selection.incremental)

    def chunks(self, selection: Selection) -> Iterator[Chunk]:
        """The rows, in rising order of their keys (but for duplicates), some thousands at a time."""
        for start in range(self.view.expired, self.view.total, CHUNK):
            rows = range(start, min(start + CHUNK, self.view.total))
            states = self._states(rows)
            if selection.incremental:
                chosen = self._written(rows, states, selection)
            elif states is None:
                chosen = [(rows, [0] * len(rows))]
            else:
                living = [(row, state) for row, state in zip(rows, states, strict=True) if not state & DELETED]
                chosen = [([row for row, _ in living], [state for _, state in living])]
            for numbers, marks in chosen:
                if len(numbers):
                    yield self._chunk(numbers, marks, selection.incremental)

    def _states(self, rows: range) -> Sequence[int] | None:
        if self.view.touched is None:
            return None
        states = self.view.touched[rows.start : rows.stop]
        return states if any(states) else None

    def _written(self, rows: range, states: Sequence[int] | None, selection: Selection) -> list[Any]:
        moments = selection.moments
        wanted = [_inside(event, moments) for event in self.view.events]
        if states is None and wanted[0] is False:
            return []
        numbers, marks = [], []
        for row, state in zip(rows, states or [0] * len(rows), strict=True):
            verdict = wanted[state & ~DELETED]
            if verdict is None:
                verdict = self.view.events[state & ~DELETED].row_ms(row) in moments
            if verdict:
                numbers.append(row)
                marks.append(state)
        return [(numbers, marks)]

    def _chunk(self, rows: Sequence[int], marks: Sequence[int], incremental: bool) -> Chunk:
        lines = self._lines(rows, marks, incremental)
        if self.view.definition.duplicates:
            twice = [place for place, row in enumerate(rows) if row % DUPLICATE_EVERY == 5]
            if twice:
                again = [rows[place] for place in twice], [marks[place] for place in twice]
                lines = self._lines(*again, incremental, earlier=True) + lines
        return Chunk(lines, len(rows))

    def _lines(
        self, rows: Sequence[int], marks: Sequence[int], incremental: bool, *, earlier: bool = False
    ) -> list[bytes]:
        heads = [self._head(row, mark, incremental, earlier) for row, mark in zip(rows, marks, strict=True)]
        shift = 1 if earlier else 0
        versions = [self._versions[mark & ~DELETED] for mark in marks]
        if len(present := set(versions)) == 1:
            lines = self.encoder.lines(heads, self._bodies(rows, marks, self._of_version(present.pop()), shift))
        else:
            lines = [b""] * len(heads)
            for version in present:
                places = [place for place, number in enumerate(versions) if number == version]
                numbers, events = [rows[place] for place in places], [marks[place] for place in places]
                bodies = self._bodies(numbers, events, self._of_version(version), shift)
                written = self.encoder.lines([heads[place] for place in places], bodies)
                for place, line in zip(places, written, strict=True):
                    lines[place] = line
        if incremental:
            for index, mark in enumerate(marks):
                if mark & DELETED:
                    lines[index] = self.encoder.deleted(heads[index], len(self.values))
        return lines

    def _bodies(
        self, rows: Sequence[int], marks: Sequence[int], segments: list[_Segments], shift: int
    ) -> list[list[bytes]]:
        bodies = []
        for group, lookup in zip(self._groups, segments, strict=True):
            a, b, c, p = group.by_row, group.by_event, group.start, group.size
            if any(marks) or shift:
                bodies.append(
                    [lookup[(row * a + mark * b + c + shift) % p] for row, mark in zip(rows, marks, strict=True)]
                )
            else:
                bodies.append([lookup[(row * a + c) % p] for row in rows])
        return bodies

    def _of_version(self, version: int) -> list[_Segments]:
        if version not in self._segments:
            written = {(column.name, column.lineage): column for column in self.view.versions[version].columns}
            self._segments[version] = [
                _Segments(self.view, group.columns, written, self.encoder) for group in self._groups
            ]
        return self._segments[version]

    def _head(self, row: int, mark: int, incremental: bool, earlier: bool) -> bytes:
        event = mark & ~DELETED
        times = self._times[event]
        slot = row % self.view.events[event].slots
        ts = times.get(slot)
        if ts is None:
            ts = times[slot] = moment_text(self.view.events[event].row_ms(row)).encode()
        if earlier:
            ts = moment_text(self.view.events[event].row_ms(row) - 1).encode()
        values = key_values(self.keys, row)
        key = [b"%d" % values[0]] if self._whole_number_key else [self.encoder.cell(value) for value in values]
        meta = [ts, b"D" if mark & DELETED else b"U"] if incremental else [ts]
        return self.encoder.head(meta, key)


def _runs(columns: Sequence[Column]) -> list[tuple[Column, ...]]:
    """Neighbours of the same group together."""
    runs: list[list[Column]] = []
    for column in columns:
        if runs and runs[-1][0].group == column.group:
            runs[-1].append(column)
        else:
            runs.append([column])
    return [tuple(run) for run in runs]


def _inside(event: Event, moments: range) -> bool | None:
    """Whether all rows of an event were written in that time, or none; None: some."""
    if event.earliest_ms >= moments.start and event.at_ms - 1 < moments.stop:
        return True
    if event.at_ms - 1 < moments.start or event.earliest_ms >= moments.stop:
        return False
    return None


def reordered(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns in another order than the schema's (a fault)."""
    values = [column for column in columns if not column.key]
    return (*(column for column in columns if column.key), *reversed(values))


def without(columns: Sequence[Column], name: str) -> tuple[Column, ...]:
    """The columns but one (a fault)."""
    return tuple(replace(column) for column in columns if column.name != name)
