"""What a notification reports: a whole run, with every listed table exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from cd2.replication.names import TableName
from cd2.replication.results import GOOD_STATES, BrokenDependent, Freshness, OddVolume, TableResult, Unlisted

Status = Literal["success", "warning", "failure"]
Severity = Literal["info", "warning", "high"]
OUTDATED_AFTER = timedelta(days=1)
"""A table that could not be brought up to date for this long makes a failure urgent."""
STALE_AFTER = timedelta(hours=8)
"""Canvas Data 2 is refreshed every 4 h (new_quizzes 8 h): the notification mentions older data."""


@dataclass(frozen=True)
class RunSummary:
    """A whole run: every listed table exactly once, and the failures outside of the tables.

    :param problems: a sentence for each failure that belongs to no table (settings, listing, ...), by task id.
    :param log_links: URL of the log that explains a failure, by table name or task id.
    :param listed_only: the tables that a dry run lists; it replicates nothing.
    :param unlisted: tables that are replicated, and that DAP no longer lists.
    :param rerun: an earlier message has already reported this run; since then tasks were cleared.
    :param recovered: all is well again, after the last message reported a failure.
    :param freshness: of the tables, as far as known.
    :param odd_volumes: tables that got far fewer or more changes than usual, and that no other run reports.
    :param high_severity_tables: more failed tables than this are urgent.
    :param partial: the trigger form selected some of the tables.
    :param run_url, page_url: the run, and the page "Canvas Data", in Airflow.
    :param broken_due: the broken dependents that this message is to tell of; None: unknown, so all of them.
    :param worked_on: the tables that a re-run has worked on; None: unknown.
    """

    environment: str
    run_id: str
    started: datetime
    finished: datetime
    results: tuple[TableResult, ...]
    problems: Mapping[str, str] = field(default_factory=dict)
    log_links: Mapping[str, str] = field(default_factory=dict)
    listed_only: tuple[str, ...] | None = None
    unlisted: tuple[Unlisted, ...] = ()
    rerun: bool = False
    recovered: bool = False
    freshness: Mapping[TableName, Freshness] = field(default_factory=dict)
    odd_volumes: tuple[OddVolume, ...] = ()
    high_severity_tables: int = 5
    partial: bool = False
    run_url: str | None = None
    page_url: str | None = None
    broken_due: tuple[BrokenDependent, ...] | None = None
    worked_on: frozenset[TableName] | None = None

    @property
    def counts(self) -> Counter[str]:
        """Number of tables per state."""
        return Counter(result.state for result in self.results)

    @property
    def failed(self) -> tuple[TableResult, ...]:
        """Tables that did not end in a good state."""
        return tuple(result for result in self.results if result.state not in GOOD_STATES)

    @property
    def stale(self) -> tuple[TableResult, ...]:
        """Tables in a good state whose data is older than `STALE_AFTER`."""
        return tuple(result for result in self.results if result.state in GOOD_STATES and self._is_stale(result))

    @property
    def broken_dependents(self) -> tuple[str, ...]:
        """Names of all dependents that could not be restored, each once."""
        return tuple(dict.fromkeys(name for result in self.results for name in result.dependents.broken))

    @property
    def broken_to_report(self) -> tuple[BrokenDependent, ...]:
        """Those of them that this message tells of; the others were told of within a day."""
        if self.broken_due is None:
            return tuple(BrokenDependent(name) for name in self.broken_dependents)
        return self.broken_due

    @property
    def verified(self) -> tuple[TableResult, ...]:
        """Tables that were compared with a snapshot, or should have been."""
        return tuple(result for result in self.results if result.verification)

    @property
    def not_equal(self) -> tuple[TableResult, ...]:
        """Those of them that differed; or that were not compared, although a person wanted it."""
        return tuple(result for result in self.verified if (v := result.verification) and v.needs_attention)

    @property
    def status(self) -> Status:
        """failure: a table or the run failed; warning: all is loaded, but somebody should look; otherwise success.

        Stale tables are listed but cause no warning: the data of a quiet table may be old and yet right.
        """
        if self.failed or self.problems:
            return "failure"
        nothing_done = not self.results and self.listed_only is None
        warnings = self.broken_to_report or self.not_equal or self.unlisted or self.odd_volumes
        return "warning" if warnings or nothing_done else "success"

    @property
    def severity(self) -> Severity:
        """high: many tables failed, or one could not be brought up to date for a day, or no table could be.

        A run about some tables that fails before them had a wrong name in the trigger form: a person watches it.
        """
        nothing_done = bool(self.problems) and not self.partial
        if nothing_done or len(self.failed) > self.high_severity_tables or self._is_outdated():
            return "high"
        return "info" if self.status == "success" else "warning"

    def age(self, table: TableName) -> timedelta | None:
        """How long ago a table was last found equal to DAP, or first failed if it never was; None: unknown."""
        fresh = self.freshness.get(table)
        since = (fresh.checked_at or fresh.failing_since) if fresh else None
        return self.finished - since if since else None

    def _is_outdated(self) -> bool:
        ages = (self.age(result.table) for result in self.failed)
        return any(age is not None and age > OUTDATED_AFTER for age in ages)

    def _is_stale(self, result: TableResult) -> bool:
        return result.data_as_of is not None and self.finished - datetime.fromisoformat(result.data_as_of) > STALE_AFTER
