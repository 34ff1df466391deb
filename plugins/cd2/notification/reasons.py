"""Why tables failed: the sentences of a run without what differs from table to table, the commonest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cd2.notification.figures import in_utc, shown
from cd2.notification.summary import RunSummary
from cd2.replication.errors import AFTER_THE_LAST, ErrorInfo
from cd2.replication.results import TableResult

UNREPORTED = "no reason was reported"
_WHERE = re.compile(r"^(?:\w+\.\w+: )?(?:(?!: ).){0,80}? failed: |^\w+\.\w+: ")
"""`canvas.users: sync failed: `, `canvas.users: `, `Listing the tables of canvas failed: `."""
_DETAIL = re.compile(r" \((?:[A-Z]\w+)(?:: [^()]*(?:\([^()]*\)[^()]*)*)?\)$")
"""What a library said: ` (DataError: column sis_id, line 17 of the job's rows)`."""
_PATH = re.compile(r" for /[^\s:]+")
_VARIES = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<= )/\S+")
"""Ids of jobs, and paths at DAP. Names are no such thing: a statement that people are to run has them."""


@dataclass(frozen=True)
class Reason:
    """Why these tables failed.

    :param results: never empty; they failed alike, but for jobs and paths.
    """

    results: tuple[TableResult, ...]

    @property
    def error(self) -> ErrorInfo | None:
        """The error of the first of them."""
        return self.results[0].error

    @property
    def sentence(self) -> str:
        """The whole sentence of the first of them."""
        return self.error.message if self.error else UNREPORTED

    @property
    def in_short(self) -> str:
        """The sentence without where it happened and without what a library said."""
        return in_short(self.sentence)


def reasons(failed: Iterable[TableResult]) -> list[Reason]:
    """The reasons of a run, each once, those of most tables first."""
    alike: dict[tuple[str, str | None], list[TableResult]] = {}
    for result in failed:
        error = result.error
        sentence = without_place(error.message) if error else UNREPORTED
        alike.setdefault((_VARIES.sub("", sentence), error.type if error else None), []).append(result)
    return sorted((Reason(tuple(results)) for results in alike.values()), key=lambda reason: -len(reason.results))


def without_place(sentence: str) -> str:
    """A sentence without where it happened at its beginning."""
    return _WHERE.sub("", sentence, count=1)


def in_short(sentence: str) -> str:
    """A sentence without where it happened, and without what a library said: what fits into a subject."""
    return _PATH.sub("", _DETAIL.sub("", without_place(sentence).removesuffix(AFTER_THE_LAST)))


def failure(summary: RunSummary, reason: Reason) -> str:
    """The entry of a reason: the sentence, its tables, and how fresh they are."""
    names = [str(result.table) for result in reason.results]
    error = reason.error
    if len(names) > 1:
        lines = [without_place(reason.sentence), f"  {len(names)} tables failed with this: {shown(names)}"]
    else:
        lines = [reason.sentence if reason.sentence.startswith(names[0]) else f"{names[0]}: {reason.sentence}"]
    known = {"type": error.type, "uuid": error.uuid} if error else {}
    if told := ", ".join(f"{name} {value}" for name, value in known.items() if value):
        lines.append(f"  {told}")
    if fresh := _freshness(summary, reason.results):
        lines.append(f"  {fresh}")
    return "\n".join(lines) + log_of(summary, names[0])


def _freshness(summary: RunSummary, results: Sequence[TableResult]) -> str:
    """How fresh the tables are; of several, the oldest counts."""
    known = [summary.freshness[result.table] for result in results if result.table in summary.freshness]
    checked = [fresh.checked_at for fresh in known if fresh.checked_at]
    failing = [fresh.failing_since for fresh in known if fresh.failing_since]
    as_of = [datetime.fromisoformat(result.data_as_of) for result in results if result.data_as_of]
    parts = []
    if as_of:
        parts.append(f"data as of {in_utc(min(as_of))}")
    if len(checked) < len(known):
        parts.append("never loaded yet" if len(known) == 1 else "some never loaded yet")
    elif checked:
        parts.append(f"last up to date at {in_utc(min(checked))}")
    if failing:
        parts.append(f"failing since {in_utc(min(failing))}")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def log_of(summary: RunSummary, name: str) -> str:
    """A line with the address of the log of a table or task; empty: unknown."""
    return f"\n  Log: {summary.log_links[name]}" if name in summary.log_links else ""
