"""`RunSummary` -> the one message that people read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cd2 import __version__
from cd2.notification.chat import in_chat, notification
from cd2.notification.figures import cut, figures, in_utc, listed, tables
from cd2.notification.reasons import failure, in_short, log_of, reasons
from cd2.notification.summary import STALE_AFTER, RunSummary
from cd2.replication.results import BrokenDependent, OddVolume

SUBJECT_LIMIT = 100
"""SNS: at most 100 ASCII characters."""
BODY_LIMIT = 200_000
"""Bytes. SNS accepts 256 KB, and JSON escapes lengthen the text."""
CHAT_LIMIT = 7_000
"""Characters in a chat message; the service truncates at 8,000."""
SIGNATURE = f"Sent by Canvas Data 2 on Airflow {__version__}.\n"
"""The last line; it names the version to look up in the changelog, and stays when the text is cut."""
ONLY_FAILED = "Clear only failed tasks"
"""An option of Airflow's dialog; its default clears every task of the run."""
_SEVERITIES = {"warning": "warning, it can wait until the morning", "high": "high"}
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
    if message_format == "chatbot":
        sections = _sections(summary, with_steps=False)
        description = _shorten(summary, in_chat(sections), CHAT_LIMIT)
        body = notification(summary, subject, description, _steps(summary), _headline(summary))
    else:
        body = _shorten(summary, "\n\n".join([*_sections(summary), SIGNATURE]), BODY_LIMIT)
    attributes = {"environment": summary.environment, "status": summary.status, "severity": summary.severity}
    return Message(subject, body, attributes)


def _subject(summary: RunSummary) -> str:
    subject = f"[{_MARKS[summary.status]}] Canvas Data 2 {summary.environment}: {_headline(summary)}"
    reason = _reason(summary)
    told = f"{subject}: {reason}" if reason else subject
    return cut(told.encode("ascii", "replace").decode(), SUBJECT_LIMIT)


def _reason(summary: RunSummary) -> str:
    """Why the run failed, in short: the reason of most tables; empty: it did not."""
    if summary.failed:
        commonest = reasons(summary.failed)[0]
        number = len(commonest.results)
        which = f"{commonest.results[0].table}: " if len(summary.failed) == 1 else ""
        which = f"{number} of them: " if number < len(summary.failed) else which
        return which + commonest.in_short
    return in_short(next(iter(summary.problems.values()), ""))


def _headline(summary: RunSummary) -> str:
    return "recovered, " * summary.recovered + "re-run, " * summary.rerun + _outcome(summary)


def _outcome(summary: RunSummary) -> str:
    total = len(summary.results)
    if summary.listed_only is not None:
        return f"dry run, {tables(len(summary.listed_only))} listed"
    if summary.failed:
        return f"{len(summary.failed)} of {tables(total)} failed"
    if summary.problems:
        return f"{', '.join(summary.problems)} failed"
    if not total:
        return "no table to replicate"
    unlisted, odd = len(summary.unlisted), len(summary.odd_volumes)
    outcomes = [result.verification.outcome for result in summary.verified if result.verification]
    differ, repaired = outcomes.count("different"), outcomes.count("repaired")
    broken = len(summary.broken_to_report)
    if not (unlisted or odd or differ or repaired or broken):
        return f"{tables(total)} up to date" + f", {outcomes.count('equal')} verified" * ("equal" in outcomes)
    several = sum(map(bool, (unlisted, odd, differ, repaired, broken))) > 1  # in full, a subject would not hold them
    parts = {
        "not equal" if several else "not equal to DAP's snapshot": differ,
        "repaired": repaired,
        f"broken dependent{'s' * (broken > 1)}": broken,
        "no longer listed": unlisted,
        "with an unusual volume": odd if several else 0,
    }
    told = [f"{number} {what}" for what, number in parts.items() if number]
    told += [f"{tables(odd)} with an unusual number of changes"] if odd and not several else []
    return ", ".join([f"{tables(total)} up to date", *told])


def _sections(summary: RunSummary, *, with_steps: bool = True) -> list[str]:
    """The paragraphs of the message: why it failed, what to do, and where, before all figures.

    The first line of each is its heading; what is indented belongs to the line above it.
    """
    rerun = " Tasks of this run were cleared; an earlier message reported it before." * summary.rerun
    severity = f" Severity: {_SEVERITIES[summary.severity]}." if summary.status == "failure" else ""
    sections = [f"Canvas Data 2, {summary.environment}: {_headline(summary)}.{severity}{rerun}"]
    sections += [f"{task} failed: {problem}{log_of(summary, task)}" for task, problem in summary.problems.items()]
    if summary.failed:
        sections.append("FAILED TABLES\n" + "\n".join(failure(summary, why) for why in reasons(summary.failed)))
    if with_steps and (steps := _steps(summary)):
        sections.append("WHAT TO DO\n" + "\n".join(steps))
    sections += _attention(summary)
    if summary.listed_only:
        sections.append("LISTED (dry run: nothing was replicated)\n" + "\n".join(summary.listed_only))
    return [*sections, figures(summary), *_links(summary)]


def _steps(summary: RunSummary) -> list[str]:
    """What to do about a failure."""
    if not summary.failed and not summary.problems:
        return []
    # Whoever has selected tables by hand may have mistyped a name.
    by_itself = " The next run tries again automatically." * (not summary.partial)
    return [
        f"Do what the reason says; docs/operations.md lists all reasons, with more about each.{by_itself}",
        'To try it at once, clear the failed tasks: on the page Canvas Data "Clear failed tasks", or on the run "Clear '
        f'Run" with the option "{ONLY_FAILED}" (without it, all tasks are cleared).',
    ]


def _links(summary: RunSummary) -> list[str]:
    links = {"This run": summary.run_url, "All tables (page Canvas Data)": summary.page_url}
    told = [f"{name}: {url}" for name, url in links.items() if url]
    return ["\n".join(["IN AIRFLOW", *told])] if told else []


def _attention(summary: RunSummary) -> list[str]:
    """What is not a failure, but deserves a look."""
    sections = []
    if summary.verified:
        sections.append("VERIFIED (compared with a snapshot of DAP, value by value)\n" + "\n".join(_verified(summary)))
    if summary.unlisted:
        sections.append(
            "TABLES THAT DAP NO LONGER LISTS (they stay as they are; docs/operations.md says what to do)\n"
            + "\n".join(
                f"{missing.table}: not listed since {in_utc(missing.since)}, data as of {in_utc(missing.data_as_of)}"
                for missing in summary.unlisted
            )
        )
    if summary.broken_to_report:
        sections.append(
            "VIEWS, INDEXES, ... THAT COULD NOT BE RESTORED (if the column comes back, each is restored automatically; "
            "otherwise recreate it without the column, from the definition in cd2.broken_dependents, or delete its "
            "row there to forget it)\n" + listed(map(_broken, summary.broken_to_report))
        )
    if summary.odd_volumes:
        sections.append(
            "TABLES WITH AN UNUSUAL NUMBER OF CHANGES (compare them with Canvas; if rows are missing, report them to "
            "Instructure, and trigger the DAG with the table and full_refresh)\n"
            + "\n".join(_odd_volume(odd) for odd in summary.odd_volumes)
        )
    if summary.stale:
        hours = STALE_AFTER // timedelta(hours=1)
        sections.append(
            f"DATA OLDER THAN {hours} HOURS (normal for tables in which nothing changes)\n"
            + listed(
                f"{result.table}: as of {in_utc(datetime.fromisoformat(result.data_as_of or ''))}"
                for result in sorted(summary.stale, key=lambda result: result.data_as_of or "")
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
                "repair; if it happens again, give the job's id to Instructure's support."
            )
    return lines


def _odd_volume(odd: OddVolume) -> str:
    return f"{odd.table}: {odd.changes:,} rows changed on {odd.day:%A, %Y-%m-%d}; on that weekday usually {odd.usual:,}"


def _broken(dependent: BrokenDependent) -> str:
    since = f" (since {in_utc(dependent.since)})" if dependent.since else ""
    return f"{dependent.name}: {dependent.error or 'the log of its table says why'}{since}"


def _shorten(summary: RunSummary, text: str, limit: int) -> str:
    """Cut the text at the end of a line, and say so; the counts come first, and every table has its log."""
    if len(text.encode()) <= limit:
        return text
    url = f": {summary.run_url}" if summary.run_url else "."
    note = f"\n... (cut: the message would be too long.) The run in Airflow shows every table{url}\n\n{SIGNATURE}"
    kept = text.encode()[: limit - len(note.encode())].decode(errors="ignore")
    return kept[: kept.rfind("\n")] + note
