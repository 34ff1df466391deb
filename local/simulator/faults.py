"""Faults on demand: what goes wrong between a client and DAP, for which table, and how often."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from local.simulator.errors import ControlError

ENDPOINTS = ("login", "list", "schema", "data", "job", "object", "download")
_HTTP = (
    "too_many_requests",
    "server_error",
    "hang",
    "unauthorized",
    "account_disabled",
    "account_not_onboarded",
    "account_under_maintenance",
)
# Kind -> the call it affects by default. Only the first ones can be ordered for another call.
KINDS: dict[str, str] = {
    **dict.fromkeys(_HTTP, "data"),
    "request_type_forbidden": "data",
    "snapshot_required": "data",
    "out_of_range": "data",
    "failed_job": "job",
    "hung_job": "job",
    "truncated_object": "download",
    "corrupt_object": "download",
    "expired_url": "download",
    "slow_download": "download",
    "malformed_value": "rows",
    "large_value": "rows",
    "ragged_line": "rows",
    "duplicate_key": "rows",
    "missing_column": "rows",
    "shuffled_columns": "rows",
    "nul_byte": "rows",
    "invalid_utf8": "rows",
    # What nothing tells about: only a comparison with another export shows it.
    "lost_changes": "rows",
    "altered_changes": "rows",
    "lost_rows": "rows",
    "altered_rows": "rows",
    "no_objects": "rows",
    "old_snapshot": "data",
}
HTTP_KINDS = frozenset(_HTTP)
_OF_CHANGES = frozenset(("lost_changes", "altered_changes"))
_OF_SNAPSHOTS = frozenset(("lost_rows", "altered_rows"))
SILENT_KINDS = _OF_CHANGES | _OF_SNAPSHOTS | {"no_objects", "old_snapshot"}
_ROW_KINDS = frozenset(kind for kind, endpoint in KINDS.items() if endpoint == "rows")


def row_kinds(incremental: bool) -> frozenset[str]:
    """The faults in the data of an incremental, or of a snapshot."""
    return _ROW_KINDS - (_OF_SNAPSHOTS if incremental else _OF_CHANGES)


@dataclass
class Fault:
    """An ordered fault.

    :param namespace, table: which table; `*` for any.
    :param times: how many more times it happens.
    :param options: what the kind understands (see `SimulatorControl.fault`).
    """

    id: int
    kind: str
    namespace: str
    table: str
    endpoint: str
    times: int
    options: dict[str, Any] = field(default_factory=dict)

    def matches(self, kinds: Iterable[str], endpoint: str, namespace: str, table: str) -> bool:
        """Whether it matches a call."""
        wanted = self.kind in kinds and self.endpoint == endpoint and self.times > 0
        return wanted and self.namespace in ("*", namespace) and self.table in ("*", table)


class Faults:
    """The pending faults.

    :param record: told the entry for the journal whenever something changes.
    """

    def __init__(self, record: Callable[[dict[str, Any]], None]) -> None:
        self._record = record
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)

    def order(self, request: dict[str, Any]) -> Fault:
        """Add a fault.

        :raises ControlError: there is no such kind or endpoint, or the number is wrong.
        """
        kind = request.get("kind", "")
        if kind not in KINDS:
            raise ControlError(f"unknown fault '{kind}'; there are {', '.join(KINDS)}")
        endpoint = request.get("endpoint") or KINDS[kind]
        if endpoint != KINDS[kind] and (kind not in HTTP_KINDS or endpoint not in ENDPOINTS):
            raise ControlError(
                f"fault {kind} does not exist for the call '{endpoint}'; calls are {', '.join(ENDPOINTS)}"
            )
        times = request.get("times", 1)
        if not isinstance(times, int) or times < 1:
            raise ControlError(f"times must be a positive whole number, not {times!r}")
        namespace, table = request.get("namespace") or "*", request.get("table") or "*"
        fault = Fault(next(self._numbers), kind, namespace, table, endpoint, times, request.get("options") or {})
        self._faults.append(fault)
        self._record({"do": "fault", "request": request})
        return fault

    def pending(self, kinds: Iterable[str], endpoint: str, namespace: str, table: str) -> bool:
        """Whether a fault is pending for a call."""
        return any(fault.matches(kinds, endpoint, namespace, table) for fault in self._faults)

    def take(self, kinds: Iterable[str], endpoint: str, namespace: str = "*", table: str = "*") -> Fault | None:
        """The oldest fault that matches a call; it counts as happened."""
        for fault in self._faults:
            if fault.matches(kinds, endpoint, namespace, table):
                self.used(fault.id)
                self._record({"do": "fault_used", "id": fault.id})
                return fault
        return None

    def used(self, fault_id: int) -> None:
        """Count a fault as happened once."""
        for fault in self._faults:
            if fault.id == fault_id:
                fault.times -= 1
        self._faults = [fault for fault in self._faults if fault.times > 0]

    def clear(self) -> int:
        """Cancel all faults; returns how many there were."""
        count = len(self._faults)
        self._faults.clear()
        self._record({"do": "clear_faults"})
        return count

    def as_list(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [asdict(fault) for fault in self._faults]
