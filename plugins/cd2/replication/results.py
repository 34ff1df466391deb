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
    :param rows_added: otherwise, how many rows more it has; None: unknown.
    """

    rows_upserted: int = 0
    rows_deleted: int = 0
    dependents: Dependents = field(default_factory=Dependents)
    rows_kept: int = 0
    notes: tuple[str, ...] = ()
    rows_in_table: int | None = None
    rows_added: int | None = 0


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


VerificationOutcome = Literal["equal", "different", "repaired", "refused", "postponed"]


@dataclass(frozen=True)
class Verification:
    """What the comparison of a table with a snapshot found. Rows are told apart by their keys.

    :param outcome: refused: DAP gave no snapshot; postponed: the two could not be compared.
    :param requested: by a person, not by `[cd2] verify_tables_per_day`.
    :param snapshot_as_of: the moment that was compared; UTC, ISO 8601.
    :param rows_compared: rows of the snapshot.
    :param rows_left_out: keys that have changed since the snapshot.
    :param rows_kept: rows that DAP no longer has, in a table that is only ever added to: no difference.
    :param missing: rows that the table lacked.
    :param extra: rows that only the table had.
    :param different: rows with other values.
    :param columns: how many rows differed in which column.
    :param reason: why there was no comparison.
    """

    outcome: VerificationOutcome
    requested: bool = True
    snapshot_as_of: str | None = None
    rows_compared: int = 0
    rows_left_out: int = 0
    rows_kept: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    columns: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None

    @property
    def differences(self) -> int:
        """How many rows differed."""
        return self.missing + self.extra + self.different

    @property
    def needs_attention(self) -> bool:
        """Whether people should look: something differed, or they wanted a comparison and got none."""
        return self.differences > 0 or (self.requested and self.outcome in ("refused", "postponed"))

    def __str__(self) -> str:
        if self.outcome in ("refused", "postponed"):
            return f"not verified: {self.reason}"
        compared = f"{self.rows_compared:,} rows compared"
        if self.snapshot_as_of:
            compared += f" as of {datetime.fromisoformat(self.snapshot_as_of):%Y-%m-%d %H:%M} UTC"
        if self.rows_kept:
            compared += f", and {self.rows_kept:,} that DAP no longer has were not"
        if not self.differences:
            return f"verified, equal: {compared}"
        kinds = [("missing", self.missing), ("extra", self.extra), ("different", self.different)]
        counts = ", ".join(f"{number:,} {kind}" for kind, number in kinds if number)
        most = sorted(self.columns.items(), key=lambda column: -column[1])
        where = ", ".join(f"{name} {number:,}" for name, number in most[:5]) + ", ..." * (len(most) > 5)
        where = f" (by column: {where})" if where else ""
        if self.outcome == "repaired":
            return f"verified, repaired: {compared}: {counts}{where}"
        return f"verified, not equal: {compared}: {counts}{where}"


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
    :param verification: None: it was not to be verified.
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
    verification: Verification | None = None

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
        verification = values.pop("verification", None)
        return cls(
            table,
            **values,
            dependents=Dependents(tuple(dependents["restored"]), tuple(dependents["broken"])),
            error=ErrorInfo.from_json(error) if error else None,
            notes=notes,
            verification=Verification(**verification) if verification else None,
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
