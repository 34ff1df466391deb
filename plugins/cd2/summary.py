"""What the tasks of a run left behind (XComs, states) -> `RunSummary`. Notify fetches, this decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cd2.results import ErrorInfo, TableResult

RAN = ("success", "failed")
"""States of a task that ran to its end. A skipped init may still have the XCom of an earlier try."""


@dataclass(frozen=True)
class TableTasks:
    """The two tasks of a table: their states (None: no such task instance) and results, as far as they left any."""

    sync_state: str | None
    init_state: str | None
    synced: TableResult | None
    initialised: TableResult | None


def table_result(name: str, tasks: TableTasks) -> TableResult:
    """The one result of a listed table; a table whose tasks do not say that all is well has failed."""
    if tasks.sync_state != "success":
        return _failure(name, tasks.sync_state, tasks.synced, "sync_table")
    if tasks.synced is None:
        return _made_up(name, "sync_table ended without a result: clear it to run it again.")
    if tasks.synced.state != "needs_init":
        return tasks.synced
    if tasks.init_state == "success" and tasks.initialised is not None:
        return tasks.initialised
    if tasks.init_state in RAN:
        return _failure(name, tasks.init_state, tasks.initialised, "init_table")
    return _made_up(
        name,
        f"The table needs an init, but init_table did not run (it is {tasks.init_state or 'missing'}): clear "
        "sync_table together with its downstream tasks.",
    )


def results_by_name(values: Iterable[Mapping[str, object]]) -> dict[str, TableResult]:
    """XComs of mapped tasks by the table's qualified name.

    :param values: in the order of their indexes. After the list has shrunk, those of instances that were removed come
        last, and tell of an earlier run of the same tables: the first of a name counts.
    """
    by_name: dict[str, TableResult] = {}
    for value in values:
        result = TableResult.from_json(value)
        by_name.setdefault(result.qualified_name, result)
    return by_name


def split_name(qualified: str) -> tuple[str, str]:
    """`namespace.table` -> both."""
    namespace, _, table = qualified.partition(".")
    return namespace, table


def _failure(name: str, state: str | None, result: TableResult | None, task: str) -> TableResult:
    if result is not None and result.state == "failed":
        return result
    return _made_up(
        name,
        f"{task} ended as {state or 'never started'} before it could report why: its process was killed, ran out of "
        "memory or of time, or somebody set its state. Its log may say more; clear it to run it again.",
    )


def _made_up(name: str, message: str) -> TableResult:
    namespace, table = split_name(name)
    return TableResult(namespace, table, "sync", "failed", error=ErrorInfo("NoResult", message))
