"""What a task leaves behind when its try fails: whether another one follows, and a sentence that says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from cd2.replication.errors import Cd2Error, TableFailure, TransientError
from cd2.tasks import operators
from cd2.tasks.finding import Found
from cd2.tasks.operators import InitTable, ListTables, SyncTable
from cd2.tasks.reporting.outcomes import ERROR, RESULT, RETRIED

AWAY = "DAP answered 500. It will be retried."
SYNC = SyncTable(task_id="sync_table", table="canvas.users", list_task_id="list_tables", init_task_id="init_table")
INIT = InitTable(task_id="init_table", table="canvas.users", list_task_id="list_tables", sync_task_id="sync_table")


class Row:
    """A task instance in its try.

    `xcoms` is what it leaves behind.
    """

    def __init__(self, try_number: int, max_tries: int = 3) -> None:
        self.try_number, self.max_tries = try_number, max_tries
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def failing(error: Cd2Error, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(operators, "with_credentials", fail)


@pytest.mark.parametrize("operator", [SYNC, INIT], ids=["sync", "init"])
@pytest.mark.parametrize(
    ("try_number", "max_tries", "last"), [(1, 3, False), (3, 3, False), (4, 3, True), (6, 8, False), (9, 8, True)]
)
def test_only_the_last_try_of_a_table_promises_no_other(
    operator: SyncTable | InitTable, try_number: int, max_tries: int, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row(try_number, max_tries)
    failing(TransientError(AWAY), monkeypatch)
    with pytest.raises(TransientError) as caught:
        operator.load_job(row, Found("job-1"))  # type: ignore[arg-type]
    told = [caught.value.message, row.xcoms[ERROR], row.xcoms[RESULT]["error"]["message"]]
    assert ["will be retried" in text for text in told] == [not last] * 3
    assert ["No retry is left" in text for text in told] == [last] * 3
    # For the trigger of the next try: it is a retry, not a clear.
    assert row.xcoms.get(RETRIED) == (None if last else try_number)


def test_a_failure_that_a_person_must_mend_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(1)
    failing(TableFailure("A value does not fit."), monkeypatch)
    with pytest.raises(AirflowFailException):
        SYNC.load_job(row, Found("job-1"))  # type: ignore[arg-type]
    assert RETRIED not in row.xcoms


@pytest.mark.parametrize(("try_number", "last"), [(1, False), (4, True)])
def test_the_listing_does_not_promise_a_retry_either(
    try_number: int, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row(try_number)
    failing(TransientError(AWAY), monkeypatch)
    context: Any = {
        "ti": row,
        "dag": SimpleNamespace(params={}),
        "params": {},
        "task_state_store": SimpleNamespace(get=lambda _: None),
    }
    with pytest.raises(TransientError):
        ListTables(task_id="list_tables").execute(context)
    assert ("will be retried" in row.xcoms[ERROR]) is not last
