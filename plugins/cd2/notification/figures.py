"""What a run did, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from cd2.notification.summary import RunSummary
from cd2.notification.wording import duration, shown, size, tables
from cd2.replication.results import TableResult


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
