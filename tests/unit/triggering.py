"""What triggers meet in tests, in place of DAP, the replica and Airflow."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.triggers.base import BaseTrigger

from cd2.replication.errors import Cd2Error, StopAll
from cd2.replication.names import TableName
from cd2.replication.waits import Replicators, Waits
from cd2.tasks import triggers
from cd2.tasks.reporting.outcomes import RESULT

USERS = "canvas.users"
CURSOR = datetime(2026, 11, 24, tzinfo=UTC)


class Dap:
    """Stands where the replicator does: what asking for a table comes to."""

    def __init__(self, cursor: datetime | None = CURSOR, answer: str | Cd2Error = "job-1") -> None:
        self._cursor = cursor
        self._answer = answer
        self.asked: list[tuple[str, datetime | None]] = []
        self.given_up: datetime | None = None
        self.requested = True

    async def cursor(self, _: TableName) -> datetime | None:
        return self._cursor

    async def ask(self, table: TableName, since: datetime | None, **details: Any) -> str:
        assert details["tries"] > 1
        assert details["place"] is not None
        self.given_up = details["given_up"]
        self.asked.append((str(table), since))
        self.requested = details.get("requested", True)
        if isinstance(self._answer, Cd2Error):
            raise self._answer
        return self._answer

    async def stop(self, run: str, failure: StopAll) -> None:
        """Nobody else waits."""

    async def close(self) -> None:
        """Nothing is open."""


class Airflow:
    """Stands where Airflow does: XComs, the trigger form, and the row that begins.

    :param xcoms: by task and map index; those with a key of their own, by that.
    """

    def __init__(self, xcoms: dict[tuple[str, int], Any], params: dict[str, Any] | None = None) -> None:
        self._xcoms = xcoms
        self._params = params or {}

    def run(self, trigger: BaseTrigger, dap: Dap, monkeypatch: pytest.MonkeyPatch, **row: Any) -> Any:
        """What comes of a trigger that begins for the second table of the list.

        :param row: what is not as in a first try.
        """

        async def pull(_: Any, task_id: str, map_index: int, key: str = RESULT) -> Any:
            return self._xcoms.get((task_id if key == RESULT else key, map_index))

        async def forget(_: Any) -> None:
            """Airflow has nothing of an earlier try."""

        async def first_event() -> Any:
            async for event in trigger.run():
                return event
            raise AssertionError("no event")

        replicators = Replicators(lambda: dap)  # type: ignore[arg-type,return-value]
        monkeypatch.setattr(triggers, "REPLICATORS", replicators)
        monkeypatch.setattr(triggers, "WAITS", Waits(replicators))
        monkeypatch.setattr(triggers._TableTrigger, "_pull", pull)
        monkeypatch.setattr(triggers._TableTrigger, "_forget_earlier_try", forget)
        values: dict[str, Any] = {
            "id": uuid4(),
            "dag_id": "canvas_data_2",
            "run_id": "one",
            "task_id": "process_table.sync_table",
            "map_index": 1,
            "try_number": 1,
            "get_template_context": lambda: {"params": self._params},
        }
        trigger._task_instance = SimpleNamespace(**values | row)
        return asyncio.run(first_event())


LISTED = {("list_tables", -1): ["canvas.roles", USERS]}
