"""The outcome of a table, `TableResult`, which its tasks hand on, and how fresh the table is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName

Action = Literal["sync", "init", "reinit"]
State = Literal["complete", "complete_with_schema_update", "initialized", "failed", "needs_init"]
SchemaChangeKind = Literal[
    "column added",
    "column dropped",
    "column kept",
    "type",
    "required",
    "values",
    "key",
    "comment",
    "other",
    "dependent restored",
    "dependent broken",
]
GOOD_STATES: tuple[State, ...] = ("complete", "complete_with_schema_update", "initialized")


@dataclass(frozen=True)
class Dependents:
    """Views that a schema change dropped: qualified names of those restored, and of those that could not be."""

    restored: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """What a load did to its table.

    :param rows_kept: rows that DAP no longer has, in a table that is only ever added to.
    :param notes: sentences about what the rows did not allow.
    :param rows_in_table: how many rows the table has after a snapshot; None: not counted.
    """

    rows_upserted: int = 0
    rows_deleted: int = 0
    dependents: Dependents = field(default_factory=Dependents)
    rows_kept: int = 0
    notes: tuple[str, ...] = ()
    rows_in_table: int | None = None


@dataclass(frozen=True)
class SchemaChange:
    """One difference between the schema that a table had and its new one.

    :param object: the column, or the table's name.
    :param what: for people: `column homeroom added (boolean)`.
    :param from_version: the version of the schema that the table had.
    """

    kind: SchemaChangeKind
    object: str
    what: str
    from_version: int | None = None


@dataclass(frozen=True)
class TableResult:
    """The outcome of one table in one run. Its JSON form is a contract (docs/reference.md).

    :param since: the cursor before the attempt; UTC, ISO 8601.
    :param data_as_of: the cursor after it; UTC, ISO 8601.
    :param rows_kept: rows that DAP no longer has, in a table that is only ever added to.
    :param bytes_downloaded: compressed.
    :param duration_s: seconds, without the wait for turn and job.
    :param waited_s: seconds that the table waited for its turn and its job.
    :param notes: sentences about what is not as DAP describes it, and needs no action.
    """

    table: TableName
    action: Action
    state: State
    rows_upserted: int = 0
    rows_deleted: int = 0
    rows_kept: int = 0
    bytes_downloaded: int = 0
    since: str | None = None
    data_as_of: str | None = None
    schema_version: int | None = None
    duration_s: float = 0.0
    waited_s: float = 0.0
    job_id: str | None = None
    dependents: Dependents = field(default_factory=Dependents)
    error: ErrorInfo | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The form in which a task hands it on."""
        values = asdict(self)
        del values["table"]
        values["dependents"] = {
            "restored": list(self.dependents.restored),
            "broken": list(self.dependents.broken),
        }
        values["notes"] = list(self.notes)
        values["error"] = self.error.to_json() if self.error else None
        return {"namespace": self.table.namespace, "table": self.table.table, **values}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableResult:
        """Read what `to_json` returned."""
        values = dict(data)
        table = TableName(values.pop("namespace"), values.pop("table"))
        dependents = values.pop("dependents")
        error = values.pop("error")
        notes = tuple(values.pop("notes", ()))
        return cls(
            table,
            **values,
            dependents=Dependents(tuple(dependents["restored"]), tuple(dependents["broken"])),
            error=ErrorInfo.from_json(error) if error else None,
            notes=notes,
        )


@dataclass(frozen=True)
class OddVolume:
    """A day on which a table got far fewer or more changes than usual.

    :param day: in UTC.
    :param changes: rows written and deleted.
    :param usual: the median of the same weekdays before.
    """

    table: TableName
    day: date
    changes: int
    usual: int


@dataclass(frozen=True)
class Freshness:
    """How fresh a table is, from `cd2.freshness`; times are aware.

    :param checked_at: when it was last brought up to date with DAP.
    :param failing_since: time of the first failure since the last success; None: the last attempt succeeded.
    :param data_as_of: the table holds Canvas as of this time.
    :param error: why the last failed attempt failed.
    """

    checked_at: datetime | None
    failing_since: datetime | None
    data_as_of: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Unlisted:
    """A table that is replicated, and that DAP no longer lists; times are aware.

    :param since: when that was first seen.
    :param data_as_of: the table holds Canvas as of this time.
    """

    table: TableName
    since: datetime
    data_as_of: datetime

    def to_json(self) -> dict[str, str]:
        """The form in which a task hands it on."""
        return {"table": str(self.table), "since": self.since.isoformat(), "data_as_of": self.data_as_of.isoformat()}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Unlisted:
        """Read what `to_json` returned."""
        since, data_as_of = (datetime.fromisoformat(data[name]) for name in ("since", "data_as_of"))
        return cls(TableName.parse(data["table"]), since, data_as_of)


@dataclass(frozen=True)
class BrokenDependent:
    """What people hung on a table, and a change of its schema broke.

    :param name: as in `Dependents.broken`.
    :param error: why it cannot be restored; None: unknown.
    :param since: when it broke; None: unknown.
    """

    name: str
    error: str | None = None
    since: datetime | None = None

    @classmethod
    def noted(cls, name: str, error: str, epoch: float) -> BrokenDependent:
        """As the journal has it.

        :param epoch: when it broke, in seconds since 1970.
        """
        return cls(name, error, datetime.fromtimestamp(epoch, UTC))
