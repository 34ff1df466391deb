"""Numbers, times and lists as people read them in a notification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

SHOWN = 20
"""Names in a list; who reads on a phone does not read a hundred."""


def cut(text: str, limit: int) -> str:
    """Cut a line between two words, and show that."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 3]
    return kept[: kept.rfind(" ") if " " in kept[limit // 2 :] else None].rstrip(" ,;:(") + "..."


def listed(lines: Iterable[str]) -> str:
    """The first of these lines, and how many there are more."""
    lines = list(lines)
    more = [f"and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)
    return "\n".join([*lines[:SHOWN], *more])


def shown(names: Sequence[str]) -> str:
    """The same in one line."""
    more = f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
    return ", ".join(names[:SHOWN]) + more


def tables(number: int) -> str:
    """`1 table`, `2 tables`."""
    return f"{number} table" if number == 1 else f"{number} tables"


def size(number: int) -> str:
    """A number of bytes."""
    if number >= 1e9:
        return f"{number / 1e9:,.1f} GB"
    return f"{number / 1e6:,.1f} MB" if number >= 1e6 else f"{number / 1e3:,.1f} KB"


def duration(span: timedelta) -> str:
    """`18 min 3 s`."""
    seconds = int(span.total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(hours or minutes) + [f"{seconds % 60} s"]
    return " ".join(parts)


def in_utc(moment: datetime) -> str:
    """To the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
