"""Numbers, times and lists as people read them; and what a run did, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cd2.notification.summary import RunSummary
from cd2.replication.results import TableResult

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


def figures(summary: RunSummary) -> str:
    """What was done; of a re-run first its own figures."""
    took = duration(summary.finished - summary.started)
    if summary.rerun and summary.worked_on is not None:
        own = [result for result in summary.results if result.table in summary.worked_on]
        lines = [f"This re-run: {tables(len(own))}; {_done(own)}; it took {took}"]
        lines.append(f"The whole run: {tables(len(summary.results))}; {_done(summary.results)}")
    else:
        lines = [f"{_done(summary.results)}; it took {took}" if summary.results else f"It took {took}"]
    told = {dependent.name for dependent in summary.broken_to_report}
    if known := [name for name in summary.broken_dependents if name not in told]:
        lines.append(f"Still broken, as an earlier message said: {shown(known)}")
    if not summary.run_url:
        lines.append(f"Run {summary.run_id}")
    return "\n".join(["FIGURES", *lines])


def _done(results: Sequence[TableResult]) -> str:
    states = sorted({result.state for result in results})
    parts = [f"{sum(result.state == state for result in results)} {state.replace('_', ' ')}" for state in states]
    parts.append(f"{sum(result.rows_upserted for result in results):,} rows written")
    parts.append(f"{sum(result.rows_deleted for result in results):,} deleted")
    if kept := sum(result.rows_kept for result in results):
        parts.append(f"{kept:,} old rows kept")
    parts.append(f"{size(sum(result.bytes_downloaded for result in results))} downloaded")
    return ", ".join(parts)
