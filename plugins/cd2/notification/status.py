"""`RunSummary` -> the status of all tables, which `notify` leaves in XCom for the page in Airflow.

The page cannot ask the replica: on MWAA the web server does not reach it. docs/reference.md describes the JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cd2.notification.summary import RunSummary
from cd2.replication.names import TableName
from cd2.replication.results import GOOD_STATES, Freshness, TableResult

STATUS = "status"
"""Key of the XCom."""
VERSION = 1
SENTENCE_LIMIT = 1_000
"""Characters of an error: 500 tables that all fail still make an XCom of 700 KB at most; the log has every word."""
UNKNOWN = Freshness(None, None)


def status_of(summary: RunSummary, ledger: Mapping[str, Any]) -> dict[str, Any]:
    """The status of every table that this run listed or that was ever attempted; plain JSON, no row's values.

    Whatever nobody has recorded is null or empty.

    :param ledger: the parts that the replica's ledger has (`cd2.replication.bookkeeping.status`); empty: not read.
    """
    results = {result.table: result for result in summary.results}
    tables = sorted({*results, *summary.freshness})
    of_run = [_table(summary, table, results.get(table)) for table in tables]
    changes = [change for result in summary.results if (change := _schema_change(summary, result))]
    return {
        "version": VERSION,
        "at": _time(summary.finished),
        "next_run": None,
        "tables": _completed(of_run, ledger.get("tables", ())),
        "schema_changes": ledger.get("schema_changes", changes),
        "volumes": ledger.get("volumes", []),
    }


def _completed(of_run: Iterable[dict[str, Any]], of_ledger: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ledger's tables with what this run knows better: a failure may have kept it from noting anything."""
    tables = {table["table"]: table for table in of_ledger}
    for table in of_run:
        known = {name: value for name, value in table.items() if value not in (None, [])}
        tables[table["table"]] = tables.get(table["table"], table) | known
    return [tables[name] for name in sorted(tables)]


def _table(summary: RunSummary, table: TableName, result: TableResult | None) -> dict[str, Any]:
    fresh = summary.freshness.get(table, UNKNOWN)
    good = result is not None and result.state in GOOD_STATES
    if result is not None and result.error is not None and not good:
        error: str | None = result.error.message
    else:
        error = fresh.error if fresh.failing_since else None
    as_of = result.data_as_of if result is not None else None
    return {
        "table": str(table),
        "state": result.state if result is not None else None,
        "checked": _time(fresh.checked_at or (summary.finished if good else None)),
        "data_as_of": _time(datetime.fromisoformat(as_of) if as_of else fresh.data_as_of),
        "rows": None,
        "rows_written": result.rows_upserted if result is not None else None,
        "rows_deleted": result.rows_deleted if result is not None else None,
        "last_change": None,
        "failing_since": _time(fresh.failing_since),
        "error": _cut(error),
        "schema_version": result.schema_version if result is not None else None,
        "verified_at": None,
        "recent": [],
    }


def _schema_change(summary: RunSummary, result: TableResult) -> dict[str, Any] | None:
    """What a schema change of this run did; None: there was none."""
    dependents = result.dependents
    if result.state != "complete_with_schema_update" and not dependents.restored and not dependents.broken:
        return None
    views = [{"name": name, "restored": True} for name in dependents.restored]
    views += [{"name": name, "restored": False} for name in dependents.broken]
    return {
        "table": str(result.table),
        "at": _time(summary.finished),
        "from_version": None,
        "to_version": result.schema_version,
        "what": "The table follows DAP's new schema.",
        "views": views,
    }


def _cut(sentence: str | None) -> str | None:
    if sentence is None or len(sentence) <= SENTENCE_LIMIT:
        return sentence
    return sentence[: SENTENCE_LIMIT - 1].rstrip() + "…"


def _time(moment: datetime | None) -> str | None:
    """UTC, to the second: shorter, and nobody reads more."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else None
