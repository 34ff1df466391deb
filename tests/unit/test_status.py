"""The status of all tables that `notify` leaves for the page: complete, compact, and without anything secret."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cd2.notification.status import SENTENCE_LIMIT, status_of
from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import Dependents, Freshness, TableResult

AT = datetime(2026, 11, 24, 18, 0, 0, 123456, tzinfo=UTC)
EARLIER = AT - timedelta(hours=3)
USERS = TableName("canvas", "users")
DONE = TableResult(
    USERS, "sync", "complete", rows_upserted=5, rows_deleted=2, schema_version=3, data_as_of="2026-11-24T17:30:00+00:00"
)
FAILED = replace(DONE, state="failed", rows_upserted=0, rows_deleted=0, error=ErrorInfo("E", "canvas.users: it broke."))


def status(*results: TableResult, freshness: dict[TableName, Freshness] | None = None) -> dict[str, Any]:
    """The status after a run with these results, as XCom keeps it."""
    summary = RunSummary("dev", "run", EARLIER, AT, results, freshness=freshness or {})
    kept: dict[str, Any] = json.loads(json.dumps(status_of(summary, {})))
    return kept


def test_a_table_has_what_the_run_and_the_replica_know() -> None:
    assert status(DONE, freshness={USERS: Freshness(AT, None, EARLIER)}) == {
        "version": 1,
        "at": "2026-11-24T18:00:00Z",
        "next_run": None,
        "tables": [
            {
                "table": "canvas.users",
                "state": "complete",
                "checked": "2026-11-24T18:00:00Z",
                "data_as_of": "2026-11-24T17:30:00Z",
                "rows": None,
                "rows_written": 5,
                "rows_deleted": 2,
                "last_change": None,
                "failing_since": None,
                "error": None,
                "schema_version": 3,
                "verified_at": None,
                "recent": [],
            }
        ],
        "schema_changes": [],
        "volumes": [],
    }


def test_a_failed_table_has_its_sentence_and_when_it_was_last_right() -> None:
    (table,) = status(FAILED, freshness={USERS: Freshness(EARLIER, AT, EARLIER, "older")})["tables"]
    assert table["state"] == "failed"
    assert table["error"] == "canvas.users: it broke."
    assert table["checked"] == "2026-11-24T15:00:00Z"
    assert table["failing_since"] == "2026-11-24T18:00:00Z"


def test_a_table_that_the_run_did_not_list_has_what_the_replica_knows() -> None:
    (table,) = status(freshness={USERS: Freshness(EARLIER, AT, EARLIER, "it broke before")})["tables"]
    assert (table["state"], table["rows_written"], table["error"]) == (None, None, "it broke before")
    assert table["data_as_of"] == "2026-11-24T15:00:00Z"
    (mended,) = status(freshness={USERS: Freshness(AT, None, AT, "it broke before")})["tables"]
    assert mended["error"] is None


def test_the_ledger_completes_the_tables_and_this_run_knows_better() -> None:
    kept = {"table": "canvas.users", "state": "complete", "rows": 7, "recent": [1, 2], "error": None}
    other = {"table": "canvas.courses", "state": "complete", "rows": 3, "recent": [], "error": None}
    changes, volumes = [{"table": "canvas.users"}], [{"day": "2026-11-24"}]
    ledger = {"tables": [other, kept], "schema_changes": changes, "volumes": volumes}
    summary = RunSummary("dev", "run", EARLIER, AT, (FAILED,))
    status = status_of(summary, ledger)
    courses, users = status["tables"]
    assert courses == other
    assert (users["rows"], users["recent"]) == (7, [1, 2])
    assert (users["state"], users["error"]) == ("failed", "canvas.users: it broke.")
    assert (status["schema_changes"], status["volumes"]) == (changes, volumes)


def test_without_the_replica_a_good_result_is_enough() -> None:
    (table,) = status(DONE)["tables"]
    assert table["checked"] == "2026-11-24T18:00:00Z"


def test_a_schema_change_names_the_views_that_came_back_and_those_that_did_not() -> None:
    changed = replace(DONE, state="complete_with_schema_update", dependents=Dependents(("r.kept",), ("r.lost",)))
    (change,) = status(changed)["schema_changes"]
    assert (change["table"], change["to_version"], change["at"]) == ("canvas.users", 3, "2026-11-24T18:00:00Z")
    assert change["views"] == [{"name": "r.kept", "restored": True}, {"name": "r.lost", "restored": False}]


def test_five_hundred_tables_are_a_small_xcom_even_if_all_have_failed_at_length() -> None:
    names = [TableName("canvas", f"a_table_with_a_name_{number}") for number in range(500)]
    good = status(*(replace(DONE, table=name) for name in names))
    long = ErrorInfo("E", "It is long. " * 500)
    bad = status(*(replace(FAILED, table=name, error=long) for name in names))
    assert len(bad["tables"][0]["error"]) <= SENTENCE_LIMIT
    print(f"{len(json.dumps(good)):,} and {len(json.dumps(bad)):,} bytes")
    assert len(json.dumps(good)) < 200_000
    assert len(json.dumps(bad)) < 750_000
