"""The triggers of a run without Airflow: what `sync_table` of each table does in one triggerer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cd2.replication.replicator import Replicator
from cd2.replication.waits import Replicators, Waits
from cd2.tasks import triggers
from cd2.tasks.finding import Found
from cd2.tasks.reporting.outcomes import RESULT
from cd2.tasks.triggers import SyncTrigger


class Triggerer:
    """The triggers of one process.

    :param make: what makes their replicators.
    :param tables: what the run's list has, in the order of the map indexes.
    """

    def __init__(self, make: Callable[[], Replicator], tables: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.tables = list(tables)
        replicators = Replicators(make)
        monkeypatch.setattr(triggers, "REPLICATORS", replicators)
        monkeypatch.setattr(triggers, "WAITS", Waits(replicators))

        async def pull(_: Any, __: str, ___: int, key: str = RESULT) -> list[str] | None:
            return self.tables if key == RESULT else None

        monkeypatch.setattr(triggers._TableTrigger, "_pull", pull)

    async def wait(self, index: int) -> Found:
        """The event of a table's trigger."""
        trigger = SyncTrigger("list_tables")
        trigger._task_instance = SimpleNamespace(
            dag_id="canvas_data_2",
            run_id="one",
            task_id="process_table.sync_table",
            map_index=index,
            try_number=1,
            get_template_context=lambda: {"params": {}},
        )
        async for event in trigger.run():
            return Found.from_json(event.payload)
        raise AssertionError("no event")
