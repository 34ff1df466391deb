"""Every listed table has exactly one result, and none is taken for good that does not say so itself."""

import pytest

from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import TableResult
from cd2.tasks.reporting.outcomes import TableTasks, fingerprints, results_by_table, table_result, worked_on

NAME = TableName("canvas", "users")
COMPLETE = TableResult(TableName("canvas", "users"), "sync", "complete")
NEEDS_INIT = TableResult(TableName("canvas", "users"), "sync", "needs_init")
INITIALIZED = TableResult(TableName("canvas", "users"), "init", "initialized")
FAILED = TableResult(TableName("canvas", "users"), "sync", "failed", error=ErrorInfo("E", "why"))


def test_a_table_without_init_has_the_result_of_its_sync() -> None:
    assert table_result(NAME, TableTasks("success", "skipped", COMPLETE, None)) is COMPLETE


def test_a_table_with_init_has_the_result_of_its_init() -> None:
    assert table_result(NAME, TableTasks("success", "success", NEEDS_INIT, INITIALIZED)) is INITIALIZED


def test_an_init_left_from_before_a_clear_does_not_count() -> None:
    assert table_result(NAME, TableTasks("success", "skipped", COMPLETE, INITIALIZED)) is COMPLETE


def test_the_reason_of_a_failure_is_kept() -> None:
    assert table_result(NAME, TableTasks("failed", "upstream_failed", FAILED, None)) is FAILED
    assert table_result(NAME, TableTasks("success", "failed", NEEDS_INIT, FAILED)) is FAILED


@pytest.mark.parametrize(
    "tasks",
    [
        TableTasks("failed", "upstream_failed", None, None),
        TableTasks("failed", "upstream_failed", COMPLETE, None),
        TableTasks("upstream_failed", "upstream_failed", None, None),
        TableTasks("success", None, None, None),
        TableTasks("success", "failed", NEEDS_INIT, None),
        TableTasks("success", "success", NEEDS_INIT, None),
        TableTasks(None, None, None, None),
    ],
)
def test_a_table_whose_tasks_left_no_result_has_failed(tasks: TableTasks) -> None:
    result = table_result(NAME, tasks)
    assert (result.table, result.state) == (NAME, "failed")
    assert result.error is not None
    assert result.error.message


@pytest.mark.parametrize("init_state", [None, "skipped", "removed"])
def test_an_init_that_is_needed_but_did_not_run_is_a_failure_that_says_so(init_state: str | None) -> None:
    result = table_result(NAME, TableTasks("success", init_state, NEEDS_INIT, None))
    assert result.state == "failed"
    assert result.error is not None
    assert "init_table did not run" in result.error.message


def test_results_are_found_by_the_tables_name_not_by_position() -> None:
    other = TableResult(TableName("catalog", "users"), "sync", "complete")
    assert results_by_table([other.to_json(), COMPLETE.to_json()]) == {
        TableName("catalog", "users"): other,
        NAME: COMPLETE,
    }


def test_results_of_instances_that_a_shorter_list_removed_do_not_count() -> None:
    assert results_by_table([COMPLETE.to_json(), NEEDS_INIT.to_json()]) == {NAME: COMPLETE}


def test_a_re_run_has_worked_on_the_tables_whose_result_is_another() -> None:
    other = TableResult(TableName("canvas", "roles"), "sync", "complete", duration_s=1.5)
    published = {"results": fingerprints([FAILED, other])}
    assert worked_on([COMPLETE, other], published) == frozenset({NAME})
    assert worked_on([FAILED, other], published) == frozenset()
    added = TableResult(TableName("canvas", "added"), "init", "initialized")
    assert worked_on([FAILED, other, added], published) == frozenset({added.table})
    assert worked_on([COMPLETE], {"max_tries": 3}) is None
