"""All that tasks hand to one another: one `TableResult` per table, and the `RunSummary` made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Action = Literal["sync", "init", "reinit"]
State = Literal["complete", "complete_with_schema_update", "initialized", "failed", "needs_init"]
GOOD_STATES: tuple[State, ...] = ("complete", "complete_with_schema_update", "initialized")
STALE_AFTER = timedelta(hours=8)
"""Canvas Data 2 is refreshed every 4 h (new_quizzes 8 h): older data deserves a word in the notification."""


@dataclass(frozen=True)
class ErrorInfo:
    """What went wrong with a table, as XCom and the notification carry it.

    `name` is the error's class (`class` in JSON); `type` and `uuid` are DAP's own: Instructure's support asks for them.
    """

    name: str
    message: str
    type: str | None = None
    uuid: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"class": self.name, "message": self.message, "type": self.type, "uuid": self.uuid}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ErrorInfo:
        return cls(data["class"], data["message"], data.get("type"), data.get("uuid"))


@dataclass(frozen=True)
class Dependents:
    """Views dropped for a schema change: qualified names of those restored, and of those that could not be."""

    restored: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableResult:
    """The outcome of one table in one run. Its JSON form is a contract (DESIGN.md).

    `since` and `data_as_of` are UTC, ISO 8601; `bytes_downloaded` is compressed; `duration_s` is seconds.
    """

    namespace: str
    table: str
    action: Action
    state: State
    rows_upserted: int = 0
    rows_deleted: int = 0
    bytes_downloaded: int = 0
    since: str | None = None
    data_as_of: str | None = None
    schema_version: int | None = None
    duration_s: float = 0.0
    job_id: str | None = None
    dependents: Dependents = field(default_factory=Dependents)
    error: ErrorInfo | None = None

    @property
    def qualified_name(self) -> str:
        """`namespace.table`, as the grid, the logs and the notification name it."""
        return f"{self.namespace}.{self.table}"

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["dependents"] = {
            "restored": list(self.dependents.restored),
            "broken": list(self.dependents.broken),
        }
        data["error"] = self.error.to_json() if self.error else None
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableResult:
        values = dict(data)
        dependents = values.pop("dependents")
        error = values.pop("error")
        return cls(
            **values,
            dependents=Dependents(tuple(dependents["restored"]), tuple(dependents["broken"])),
            error=ErrorInfo.from_json(error) if error else None,
        )


@dataclass(frozen=True)
class Freshness:
    """How fresh a table is, from `cd2.freshness`; times are aware.

    :param checked_at: when it was last brought up to date with DAP.
    :param failing_since: since when every attempt failed; None: the last one did not.
    """

    checked_at: datetime | None
    failing_since: datetime | None


@dataclass(frozen=True)
class RunSummary:
    """A whole run: every listed table exactly once, and what went wrong outside of the tables.

    :param log_links: address of the log that explains a failure, by qualified table name or task id.
    :param problems: a sentence for each failure that belongs to no table (settings, listing, ...), by task id.
    :param listed_only: tables named by a dry run, which replicates nothing.
    :param rerun: an earlier message told of this run already; since then tasks were cleared.
    :param recovered: all is well again, after the last message told of a failure.
    :param freshness: by qualified table name, as far as it is known.
    """

    environment: str
    run_id: str
    started: datetime
    finished: datetime
    results: tuple[TableResult, ...]
    problems: Mapping[str, str] = field(default_factory=dict)
    log_links: Mapping[str, str] = field(default_factory=dict)
    listed_only: tuple[str, ...] | None = None
    rerun: bool = False
    recovered: bool = False
    freshness: Mapping[str, Freshness] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """Number of tables per state."""
        return Counter(result.state for result in self.results)

    @property
    def failed(self) -> tuple[TableResult, ...]:
        """Tables that did not reach a good end."""
        return tuple(result for result in self.results if result.state not in GOOD_STATES)

    @property
    def stale(self) -> tuple[TableResult, ...]:
        """Tables in a good state whose data is older than `STALE_AFTER`."""
        return tuple(result for result in self.results if result.state in GOOD_STATES and self._is_stale(result))

    @property
    def broken_dependents(self) -> tuple[str, ...]:
        """Qualified names of all views that could not be restored."""
        return tuple(name for result in self.results for name in result.dependents.broken)

    @property
    def status(self) -> Literal["success", "warning", "failure"]:
        """failure: a table or the run failed; warning: all is loaded, but somebody should look; else success.

        Stale tables are listed but raise no warning: on a quiet table the data stays behind the clock for long.
        """
        if self.failed or self.problems:
            return "failure"
        nothing_done = not self.results and self.listed_only is None
        return "warning" if self.broken_dependents or nothing_done else "success"

    def _is_stale(self, result: TableResult) -> bool:
        return result.data_as_of is not None and self.finished - datetime.fromisoformat(result.data_as_of) > STALE_AFTER
