"""What tasks hand to one another: the JSON of the contract, and what a run's status is."""

from datetime import UTC, datetime, timedelta

from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import Dependents, TableResult, Unlisted, Verification

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USERS, ROLES = TableName("canvas", "users"), TableName("canvas", "roles")


def summary_of(*results: TableResult, **more: object) -> RunSummary:
    return RunSummary("dev", "manual__1", NOW - timedelta(minutes=3), NOW, results, **more)  # type: ignore[arg-type]


def test_a_table_result_has_the_fields_of_the_contract_and_survives_json() -> None:
    result = TableResult(
        TableName("canvas", "users"),
        "sync",
        "failed",
        rows_upserted=3,
        since="2026-03-01T00:00:00+00:00",
        dependents=Dependents(("public.a",), ("public.b",)),
        error=ErrorInfo("ProcessingError", "what to do", "ProcessingError", "u-1"),
        notes=("what is different",),
        verification=Verification("different", missing=1, columns={"name": 2}),
    )
    data = result.to_json()
    assert set(data) == {
        *("namespace", "table", "action", "state", "rows_upserted", "rows_deleted", "rows_kept", "bytes_downloaded"),
        *("since", "data_as_of", "schema_version", "duration_s", "waited_s", "job_id", "dependents", "error", "notes"),
        "verification",
    }
    assert data["error"] == {
        "class": "ProcessingError",
        "message": "what to do",
        "type": "ProcessingError",
        "uuid": "u-1",
    }
    assert data["dependents"] == {"restored": ["public.a"], "broken": ["public.b"]}
    assert TableResult.from_json(data) == result


def test_what_is_no_longer_listed_survives_json() -> None:
    missing = Unlisted(USERS, NOW, NOW - timedelta(hours=3))
    assert Unlisted.from_json(missing.to_json()) == missing


def test_a_run_succeeds_only_if_every_table_did() -> None:
    good = TableResult(TableName("canvas", "users"), "sync", "complete")
    changed = TableResult(TableName("canvas", "roles"), "sync", "complete_with_schema_update")
    new = TableResult(TableName("canvas", "quizzes"), "init", "initialized")
    assert summary_of(good, changed, new).status == "success"
    for state in ("failed", "needs_init"):
        bad = TableResult(TableName("canvas", "terms"), "sync", state)
        assert summary_of(good, bad).status == "failure"
        assert summary_of(good, bad).failed == (bad,)


def test_a_run_fails_when_something_outside_of_the_tables_did() -> None:
    assert summary_of(problems={"list_tables": "no"}).status == "failure"


def test_broken_views_and_a_run_without_tables_are_a_warning() -> None:
    broken = TableResult(TableName("canvas", "users"), "sync", "complete", dependents=Dependents((), ("public.v",)))
    assert summary_of(broken).status == "warning"
    assert summary_of().status == "warning"
    assert summary_of(listed_only=("canvas.users",)).status == "success"


def test_data_older_than_eight_hours_is_listed() -> None:
    old = TableResult(
        TableName("canvas", "users"), "sync", "complete", data_as_of=(NOW - timedelta(hours=9)).isoformat()
    )
    fresh = TableResult(
        TableName("canvas", "roles"), "sync", "complete", data_as_of=(NOW - timedelta(hours=7)).isoformat()
    )
    assert summary_of(old, fresh).stale == (old,)
