"""The trigger of a table that is to be verified: which jobs it asks for, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.results import Verification
from cd2.tasks import finding
from cd2.tasks.finding import REFUSED, Found
from cd2.tasks.triggers import SyncTrigger
from cd2.tasks.verifying import VERIFY
from tests.unit.triggering import CURSOR, LISTED, USERS, Airflow, Dap

CHOSEN = {(VERIFY, -1): [USERS]}


class Verified(Dap):
    """The same, for a table that is to be verified: a verifier asks it for both jobs."""

    def __init__(self, cursor: datetime | None = CURSOR, snapshot: str | Cd2Error = "snapshot-1") -> None:
        super().__init__(cursor)
        self._snapshot = snapshot

    async def ask_for_both(self, table: TableName, cursor: datetime, **details: Any) -> tuple[str, str]:
        if isinstance(self._snapshot, Cd2Error):
            raise self._snapshot
        return self._snapshot, await self.ask(table, cursor, **details)


@pytest.fixture(autouse=True)
def _verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "verifier", lambda dap: SimpleNamespace(ask=dap.ask_for_both))


@pytest.mark.parametrize("form", [{"verify": True}, {"repair": True}])
def test_a_table_that_a_person_wants_verified_is_asked_for_a_snapshot_too(
    form: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Airflow(LISTED, form).run(SyncTrigger("list_tables"), Verified(), monkeypatch)
    assert Found.from_json(event.payload) == Found("job-1", since=CURSOR.isoformat(), snapshot_id="snapshot-1")


def test_a_table_that_the_list_chose_is_verified_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    event = Airflow(LISTED | CHOSEN).run(SyncTrigger("list_tables"), Verified(), monkeypatch)
    found = Found.from_json(event.payload)
    assert (found.snapshot_id, found.on_its_own) == ("snapshot-1", True)


def test_a_table_that_needs_an_init_has_nothing_to_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    event = Airflow(LISTED, {"verify": True}).run(SyncTrigger("list_tables"), Verified(cursor=None), monkeypatch)
    assert Found.from_json(event.payload) == Found(needs_init=True)


@pytest.mark.parametrize("on_its_own", [True, False])
def test_a_table_whose_snapshot_dap_refuses_is_synced_and_not_verified(
    on_its_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dap = Verified(snapshot=TableFailure("DAP refuses this kind of request.", type=REFUSED))
    listed, form = (LISTED | CHOSEN, {}) if on_its_own else (LISTED, {"verify": True})
    found = Found.from_json(Airflow(listed, form).run(SyncTrigger("list_tables"), dap, monkeypatch).payload)
    assert (found.job_id, found.snapshot_id, found.on_its_own) == ("job-1", None, on_its_own)
    assert found.not_verified
    assert Verification(**found.not_verified).outcome == "refused"
    assert found.not_verified["reason"] == "DAP refuses this kind of request."


@pytest.mark.parametrize(
    ("failure", "on_its_own", "fails"),
    [
        (TransientError("DAP failed."), True, False),
        (TransientError("DAP failed."), False, True),
        (StopAll("DAP refused the key."), True, True),
    ],
)
def test_a_verification_that_nobody_asked_for_fails_no_table_but_by_what_stops_all(
    failure: Cd2Error, on_its_own: bool, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, form = (LISTED | CHOSEN, {}) if on_its_own else (LISTED, {"verify": True})
    event = Airflow(listed, form).run(SyncTrigger("list_tables"), Verified(snapshot=failure), monkeypatch)
    found = Found.from_json(event.payload)
    assert (found.error is not None, found.not_verified is not None) == (fails, not fails)


def test_a_snapshot_that_nobody_asked_for_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tables of the run wait for it, and so does the next run."""

    class Hung(Verified):
        async def ask_for_both(self, table: TableName, cursor: datetime, **details: Any) -> tuple[str, str]:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(finding, "PATIENCE_S", 0.01)
    event = Airflow(LISTED | CHOSEN).run(SyncTrigger("list_tables"), Hung(), monkeypatch)
    found = Found.from_json(event.payload)
    assert (found.error, found.job_id, found.snapshot_id) == (None, "job-1", None)
    assert found.not_verified
    assert found.not_verified["outcome"] == "postponed"
    assert "DAP did not finish the snapshot for a verification within" in found.not_verified["reason"]
