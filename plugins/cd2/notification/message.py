"""`RunSummary` -> the one message that people read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cd2 import __version__
from cd2.notification.summary import STALE_AFTER, RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.results import OddVolume, TableResult

SUBJECT_LIMIT = 100
"""SNS: at most 100 ASCII characters."""
BODY_LIMIT = 200_000
"""Bytes. SNS accepts 256 KB, and JSON escapes lengthen the text."""
CHAT_LIMIT = 7_000
"""Characters in a chat message; the service truncates at 8,000."""
SIGNATURE = f"Sent by Canvas Data 2 on Airflow {__version__}.\n"
"""The last line; it names the version to look up in the changelog, and stays when the text is cut."""
_MARKS = {"success": "OK", "warning": "WARNING", "failure": "FAILURE"}


@dataclass(frozen=True)
class Message:
    """What is published: subject, body, and attributes for filter policies."""

    subject: str
    body: str
    attributes: dict[str, str]


def compose(summary: RunSummary, message_format: str = "text") -> Message:
    """The notification of a run.

    :param message_format: `text`, or `chatbot` for the JSON that Amazon Q Developer in chat applications shows.
    """
    subject = _subject(summary)
    body = _chatbot(summary) if message_format == "chatbot" else _shorten(_text(summary), BODY_LIMIT)
    attributes = {"environment": summary.environment, "status": summary.status, "severity": summary.severity}
    return Message(subject, body, attributes)


def _subject(summary: RunSummary) -> str:
    subject = f"[{_MARKS[summary.status]}] Canvas Data 2 {summary.environment}: {_headline(summary)}"
    return subject.encode("ascii", "replace").decode()[:SUBJECT_LIMIT]


def _headline(summary: RunSummary) -> str:
    return "recovered, " * summary.recovered + "re-run, " * summary.rerun + _outcome(summary)


def _outcome(summary: RunSummary) -> str:
    total = len(summary.results)
    if summary.listed_only is not None:
        return f"dry run, {_tables(len(summary.listed_only))} listed"
    if summary.failed:
        return f"{len(summary.failed)} of {_tables(total)} failed"
    if summary.problems:
        return f"{', '.join(summary.problems)} failed"
    if not total:
        return "no table to replicate"
    unlisted, odd = len(summary.unlisted), len(summary.odd_volumes)
    outcomes = [result.verification.outcome for result in summary.verified if result.verification]
    differ, repaired = outcomes.count("different"), outcomes.count("repaired")
    if not (unlisted or odd or differ or repaired):
        return f"{_tables(total)} up to date" + f", {outcomes.count('equal')} verified" * ("equal" in outcomes)
    several = sum(map(bool, (unlisted, odd, differ, repaired))) > 1  # in full, a subject would not hold them
    parts = {
        "not equal" if several else "not equal to DAP's snapshot": differ,
        "repaired": repaired,
        "no longer listed": unlisted,
        "with an odd volume": odd if several else 0,
    }
    told = [f"{number} {what}" for what, number in parts.items() if number]
    told += [f"{_tables(odd)} with an odd number of changes"] if odd and not several else []
    return ", ".join([f"{_tables(total)} up to date", *told])


def _text(summary: RunSummary) -> str:
    sections = [_overview(summary)]
    sections += [f"{task} failed: {problem}{_log_of(summary, task)}" for task, problem in summary.problems.items()]
    if summary.failed:
        sections.append("FAILED TABLES\n" + "\n".join(_failures(summary)))
    sections += _attention(summary)
    if summary.listed_only:
        sections.append("LISTED (dry run: nothing was replicated)\n" + "\n".join(summary.listed_only))
    return "\n\n".join([*sections, SIGNATURE])


def _attention(summary: RunSummary) -> list[str]:
    """What is not a failure, but deserves a look."""
    sections = []
    if summary.verified:
        sections.append("VERIFIED (compared with a snapshot of DAP, value by value)\n" + "\n".join(_verified(summary)))
    if summary.unlisted:
        sections.append(
            "TABLES THAT DAP NO LONGER LISTS (they stay as they are; docs/operations.md says what to do)\n"
            + "\n".join(
                f"{missing.table}: not listed since {_time(missing.since)}, data as of {_time(missing.data_as_of)}"
                for missing in summary.unlisted
            )
        )
    if summary.broken_dependents:
        sections.append(
            "VIEWS THAT COULD NOT BE RESTORED (definitions are kept in cd2.broken_dependents)\n"
            + "\n".join(summary.broken_dependents)
        )
    if summary.odd_volumes:
        sections.append(
            "TABLES WITH AN ODD NUMBER OF CHANGES (compare them with Canvas; if rows are missing, report them to "
            "Instructure, and trigger the DAG with the table and full_refresh)\n"
            + "\n".join(_odd_volume(odd) for odd in summary.odd_volumes)
        )
    if summary.stale:
        hours = STALE_AFTER // timedelta(hours=1)
        sections.append(
            f"DATA OLDER THAN {hours} HOURS (normal for tables in which nothing changes)\n"
            + "\n".join(
                f"{result.table}: as of {_time(datetime.fromisoformat(result.data_as_of or ''))}"
                for result in summary.stale
            )
        )
    return sections


def _verified(summary: RunSummary) -> list[str]:
    """A line for each table that was compared, or should have been; those that need attention come first."""
    attention = {result.table for result in summary.not_equal}
    lines = []
    for result in sorted(summary.verified, key=lambda result: (result.table not in attention, result.table)):
        lines.append(f"{result.table}: {result.verification}")
        if result.verification and result.verification.outcome == "different":
            lines.append(
                "  The keys are in cd2.verification_differences. To correct the table, trigger the DAG with it and "
                "repair; if it comes again, give the job's id to Instructure's support."
            )
    return lines


def _odd_volume(odd: OddVolume) -> str:
    return f"{odd.table}: {odd.changes:,} rows changed on {odd.day:%A, %Y-%m-%d}; on that weekday usually {odd.usual:,}"


def _overview(summary: RunSummary) -> str:
    figures = {state: f"{number:>6}" for state, number in sorted(summary.counts.items())}
    if summary.results:
        rows = sum(result.rows_upserted for result in summary.results)
        deleted = sum(result.rows_deleted for result in summary.results)
        figures["rows written / deleted"] = f"{rows:>6,} / {deleted:,}"
        if kept := sum(result.rows_kept for result in summary.results):
            figures["old rows kept"] = f"{kept:>6,}"
        figures["downloaded"] = f"{_size(sum(result.bytes_downloaded for result in summary.results)):>6}"
    figures["duration"] = _duration(summary.finished - summary.started)
    figures["run"] = summary.run_id
    lines = [f"{name:<28}{value}" for name, value in figures.items()]
    rerun = "Tasks of this run were cleared; an earlier message reported it before.\n" * summary.rerun
    return f"Canvas Data 2, {summary.environment}: {_headline(summary)}.\n{rerun}\n" + "\n".join(lines)


def _failures(summary: RunSummary) -> list[str]:
    """One entry per failure; tables with exactly the same failure share one."""
    same: dict[ErrorInfo | None, list[TableResult]] = {}
    for result in summary.failed:
        same.setdefault(result.error, []).append(result)
    return [_failure(summary, error, results) for error, results in same.items()]


def _failure(summary: RunSummary, error: ErrorInfo | None, results: list[TableResult]) -> str:
    reason = error.message if error else "no reason was reported"
    names = [str(result.table) for result in results]
    lines = [reason] if len(names) > 1 or reason.startswith(names[0]) else [f"{names[0]}: {reason}"]
    if error and (error.type or error.uuid):
        lines.append(f"  type {error.type or '-'}, uuid {error.uuid or '-'}")
    if len(names) > 1:
        lines.append(f"  {len(names)} tables failed with this: {', '.join(names)}")
    if fresh := _freshness(summary, results):
        lines.append(f"  {fresh}")
    return "\n".join(lines) + _log_of(summary, names[0])


def _freshness(summary: RunSummary, results: list[TableResult]) -> str:
    """How fresh the tables are; of several, the oldest counts."""
    known = [summary.freshness[result.table] for result in results if result.table in summary.freshness]
    checked = [fresh.checked_at for fresh in known if fresh.checked_at]
    failing = [fresh.failing_since for fresh in known if fresh.failing_since]
    as_of = [datetime.fromisoformat(result.data_as_of) for result in results if result.data_as_of]
    parts = []
    if as_of:
        parts.append(f"data as of {_time(min(as_of))}")
    if len(checked) < len(known):
        parts.append("never loaded yet" if len(known) == 1 else "some never loaded yet")
    elif checked:
        parts.append(f"last up to date at {_time(min(checked))}")
    if failing:
        parts.append(f"failing since {_time(min(failing))}")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _log_of(summary: RunSummary, name: str) -> str:
    return f"\n  Log: {summary.log_links[name]}" if name in summary.log_links else ""


def _chatbot(summary: RunSummary) -> str:
    """The custom notification of Amazon Q Developer in chat applications (formerly AWS Chatbot), version 1.0."""
    steps = ["Open the run in Airflow, read the log of a failed table, clear it when the cause is fixed."] * bool(
        summary.failed or summary.problems
    )
    return json.dumps(
        {
            "version": "1.0",
            "source": "custom",
            "id": summary.run_id,
            "content": {
                "textType": "client-markdown",
                "title": _subject(summary),
                "description": _shorten(_text(summary), CHAT_LIMIT),
                "nextSteps": steps,
            },
            "metadata": {
                # One thread a run: in one for all, a failure would be an answer to a message of months ago.
                "threadId": f"cd2-{summary.environment}-{summary.run_id}",
                "summary": _headline(summary),
                "eventType": summary.status,
                "relatedResources": [summary.run_id],
                "additionalContext": {"environment": summary.environment, "status": summary.status},
            },
        }
    )


def _shorten(text: str, limit: int) -> str:
    """Cut the text at the end of a line, and say so; the counts come first, and every table has its log."""
    if len(text.encode()) <= limit:
        return text
    note = f"\n... (cut: the message would be too long. The run in Airflow shows every table.)\n\n{SIGNATURE}"
    kept = text.encode()[: limit - len(note)].decode(errors="ignore")
    return kept[: kept.rfind("\n")] + note


def _tables(number: int) -> str:
    return f"{number} table" if number == 1 else f"{number} tables"


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 1e6 else f"{number / 1e3:,.1f} KB"


def _duration(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(hours or minutes) + [f"{seconds % 60} s"]
    return " ".join(parts)
