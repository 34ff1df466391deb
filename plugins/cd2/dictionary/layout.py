"""Where the boxes of a diagram stand: what a table refers to is on its left.

Of our own: the layout libraries on PyPI are unmaintained (grandalf), need a program beside Python (graphviz) or are
compiled, and whatever the DAG needs must be installed on MWAA's workers, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_HEIGHT = 900.0
"""Of a column of boxes; higher ones are split."""
BETWEEN_COLUMNS, BETWEEN_BOXES = 84.0, 22.0
SWEEPS = 4


@dataclass(frozen=True)
class Size:
    """Of a box, in pixels."""

    width: float
    height: float


@dataclass(frozen=True)
class Place:
    """The upper left corner of a box, in pixels."""

    x: float
    y: float


def places(sizes: Mapping[str, Size], edges: Sequence[tuple[str, str]]) -> dict[str, Place]:
    """Where each box stands.

    :param sizes: of all boxes, by name.
    :param edges: which box refers to which other one.
    """
    targets = {name: sorted({to for of, to in edges if of == name and to != name}) for name in sizes}
    tied = {name for name in sizes if targets[name]} | {to for several in targets.values() for to in several}
    ranks = _ranks({name: several for name, several in targets.items() if name in tied})
    layers = [[name for name in sorted(tied) if ranks[name] == rank] for rank in sorted(set(ranks.values()))]
    _order(layers, targets)
    columns = [column for layer in layers for column in _split(layer, sizes)]
    found = _stacked(columns, sizes)
    width = max([found[name].x + sizes[name].width for name in found], default=1200.0)
    below = max([found[name].y + sizes[name].height + 2 * BETWEEN_BOXES for name in found], default=0.0)
    return found | _rows([name for name in sizes if name not in tied], sizes, max(width, 900.0), below)


def _ranks(targets: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many boxes are between each one and the leftmost; a circle is cut where it closes."""
    ranks: dict[str, int] = {}
    visiting: set[str] = set()

    def rank(name: str) -> int:
        if name not in ranks:
            visiting.add(name)
            ranks[name] = max([rank(to) + 1 for to in targets[name] if to not in visiting], default=0)
            visiting.remove(name)
        return ranks[name]

    for name in sorted(targets):
        rank(name)
    return ranks


def _order(layers: list[list[str]], targets: Mapping[str, Sequence[str]]) -> None:
    """Sort each layer so that boxes are near those that they are tied to: fewer lines cross."""
    near: dict[str, set[str]] = {name: set() for layer in layers for name in layer}
    for name in near:
        for to in targets[name]:
            near[name].add(to)
            near[to].add(name)
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            position = {name: number / len(each) for each in layers for number, name in enumerate(each)}
            mean = {name: sum(position[other] for other in near[name]) / len(near[name]) for name in layer}
            layer.sort(key=lambda name, mean=mean: (mean[name], name))  # type: ignore[misc]


def _split(layer: Sequence[str], sizes: Mapping[str, Size]) -> list[list[str]]:
    columns: list[list[str]] = [[]]
    height = 0.0
    for name in layer:
        if columns[-1] and height + sizes[name].height > MOST_HEIGHT:
            columns.append([])
            height = 0.0
        columns[-1].append(name)
        height += sizes[name].height + BETWEEN_BOXES
    return columns


def _stacked(columns: Sequence[Sequence[str]], sizes: Mapping[str, Size]) -> dict[str, Place]:
    """Columns side by side, each in the middle of the height."""
    heights = [sum(sizes[name].height + BETWEEN_BOXES for name in column) for column in columns]
    found: dict[str, Place] = {}
    x = 0.0
    for column, height in zip(columns, heights, strict=True):
        y = (max(heights) - height) / 2
        for name in column:
            found[name] = Place(x, y)
            y += sizes[name].height + BETWEEN_BOXES
        x += max(sizes[name].width for name in column) + BETWEEN_COLUMNS
    return found


def _rows(names: Sequence[str], sizes: Mapping[str, Size], width: float, y: float) -> dict[str, Place]:
    """Boxes that are tied to nothing, in rows below the others."""
    found: dict[str, Place] = {}
    x = height = 0.0
    for name in names:
        if x and x + sizes[name].width > width:
            x, y, height = 0.0, y + height + BETWEEN_BOXES, 0.0
        found[name] = Place(x, y)
        x += sizes[name].width + BETWEEN_BOXES
        height = max(height, sizes[name].height)
    return found
