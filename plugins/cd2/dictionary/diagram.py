"""An area as an entity-relationship diagram in SVG: its tables with their keys and references.

A column that refers to a table of another area names it, without a line: otherwise most lines would lead to users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cd2.dictionary.areas import Area
from cd2.dictionary.layout import Place, Size, places
from cd2.dictionary.markup import anchor, escape
from cd2.dictionary.model import Column, Table
from cd2.replication.names import TableName

HEAD, ROW, MARGIN = 28.0, 19.0, 12.0
CHARACTER = 6.7
"""Width of a character, about; what is longer is cut."""
LONGEST_TEXT = 34
NARROWEST = 150.0


@dataclass(frozen=True)
class _Row:
    """A column in a box.

    :param beside: what stands at its right: that it is the key, the tables elsewhere that it refers to.
    """

    column: Column
    beside: str


def diagram(area: Area) -> str:
    """The diagram of an area."""
    tables = {str(table.name): table for table in area.tables}
    rows = {name: _rows(table, tables) for name, table in tables.items()}
    sizes = {name: _size(table, rows[name]) for name, table in tables.items()}
    edges = [(str(name), str(target)) for name, _, target in _edges(area)]
    found = {name: Place(place.x + 2 * MARGIN, place.y + MARGIN) for name, place in places(sizes, edges).items()}
    width = max(found[name].x + sizes[name].width for name in tables) + MARGIN
    height = max(found[name].y + sizes[name].height for name in tables) + MARGIN
    parts = [
        f'<svg class="erd" role="group" aria-label="Diagram of {escape(area.title)}" viewBox="0 0 {width:.0f} '
        f'{height:.0f}" width="{width:.0f}" height="{height:.0f}">',
    ]
    for name, column, target in _edges(area):
        number = [row.column for row in rows[str(name)]].index(column)
        start = Place(found[str(name)].x, found[str(name)].y + HEAD + (number + 0.5) * ROW)
        parts.append(_line(start, found[str(target)], sizes[str(target)], name, column, target))
    parts += [_box(table, rows[name], found[name], sizes[name]) for name, table in tables.items()]
    return "".join([*parts, "</svg>"])


def _edges(area: Area) -> Iterator[tuple[TableName, Column, TableName]]:
    """What refers to what within an area."""
    inside = {table.name for table in area.tables}
    for table in area.tables:
        for column in table.columns:
            for target in column.reference.targets if column.reference else ():
                if target in inside and target != table.name:
                    yield table.name, column, target


def _rows(table: Table, inside: dict[str, Table]) -> list[_Row]:
    rows = []
    for column in table.columns:
        targets = column.reference.targets if column.reference else ()
        elsewhere = [
            "itself" if target == table.name else _near(target, table.name)
            for target in targets
            if str(target) not in inside or target == table.name
        ]
        if column.key or targets:
            marks = (["key"] if column.key else []) + (["→ " + " | ".join(elsewhere)] if elsewhere else [])
            rows.append(_Row(column, " ".join(marks)))
    return rows


def _near(target: TableName, table: TableName) -> str:
    return target.table if target.namespace == table.namespace else str(target)


def _size(table: Table, rows: list[_Row]) -> Size:
    texts = [len(_cut(row.column.name)) + len(_cut(row.beside)) + 2 for row in rows]
    longest = max([len(_cut(table.name.table)) * 1.16, *texts])
    return Size(max(NARROWEST, longest * CHARACTER + 2 * 8), HEAD + len(rows) * ROW + 6)


def _box(table: Table, rows: list[_Row], place: Place, size: Size) -> str:
    right = size.width - 8
    parts = [
        f'<g class="box" transform="translate({place.x:.0f} {place.y:.0f})">'
        f'<rect class="body" width="{size.width:.0f}" height="{size.height:.0f}" rx="5"/>'
        f'<a href="#{anchor(table.name)}"><title>{escape(str(table.name))}</title>'
        f'<rect class="head" width="{size.width:.0f}" height="{HEAD:.0f}" rx="5"/>'
        f'<text class="name" x="8" y="19">{escape(_cut(table.name.table))}</text></a>'
    ]
    for number, row in enumerate(rows):
        y = HEAD + (number + 1) * ROW - 4
        parts.append(f'<text x="8" y="{y:.0f}">{escape(_cut(row.column.name))}</text>')
        if row.beside:
            parts.append(
                f'<text class="beside" x="{right:.0f}" y="{y:.0f}" text-anchor="end">{escape(_cut(row.beside))}</text>'
            )
    return "".join([*parts, "</g>"])


def _line(start: Place, box: Place, size: Size, name: TableName, column: Column, target: TableName) -> str:
    """From a column to the table that it refers to; if that is not on its left, around the left of both."""
    guess = " guess" if column.reference and column.reference.source == "name" else ""
    y = box.y + HEAD / 2
    if box.x + size.width < start.x:
        end = box.x + size.width
        bend = max(40.0, (start.x - end) / 2)
        curve = f"C{start.x - bend:.0f} {start.y:.0f} {end + bend:.0f} {y:.0f} {end:.0f} {y:.0f}"
        bar = end + 6
    else:
        bend = 46.0
        left = min(start.x, box.x)
        curve = f"C{left - bend:.0f} {start.y:.0f} {left - bend:.0f} {y:.0f} {box.x:.0f} {y:.0f}"
        bar = box.x - 6
    foot = f"M{start.x:.0f} {start.y - 5:.0f}l-8 5l8 5"  # many
    one = f"M{bar:.0f} {y - 5:.0f}v10"
    says = f"{name}.{column.name} → {target}"
    return (
        f'<g class="line{guess}"><title>{escape(says)}</title>'
        f'<path d="M{start.x:.0f} {start.y:.0f}{curve}"/><path class="end" d="{foot}{one}"/></g>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
