"""What stops all tables is told of each by its own name, in its log, its result and the ledger; no name is doubled."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import Cd2Error, StopAll, without_table
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.tasks.finding import Found
from local.simulator.control import SimulatorControl
from tests.replication.replica import NO_PACE, credentials_of, execute, run
from tests.replication.triggerer import Triggerer
from tests.replication.waiting import until
from tests.steps import init

TABLES = ("canvas.courses", "canvas.roles", "canvas.users")
"""The first meets what stops all; the others wait for their jobs."""
TABLE = re.compile(r"\b(?:canvas|canvas_logs)\.\w+")


@pytest.mark.parametrize("fault", ["account_disabled", "account_not_onboarded"])
def test_a_failure_of_the_account_is_told_of_each_table_by_its_own_name(
    fault: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    target: DatabaseTarget,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for table in TABLES:
        run(init(replicator, table))
    asked = simulator.stats()["calls"]["data"]
    for name in ("roles", "users"):
        simulator.fault("canvas", name, "hung_job")
    simulator.fault("canvas", "courses", fault, times=5)
    made: list[Replicator] = []

    def make() -> Replicator:
        made.append(Replicator(credentials_of(simulator), target, NO_PACE, pooled=2))
        return made[-1]

    async def others_wait() -> bool:
        return bool(simulator.stats()["calls"]["data"] == asked + 2)

    async def all_of_them() -> list[Found]:
        triggerer = Triggerer(make, TABLES, monkeypatch)
        others = [asyncio.create_task(triggerer.wait(number)) for number in (1, 2)]
        await until(others_wait)
        found = [await triggerer.wait(0), *await asyncio.gather(*others)]
        for one in made:
            await one.close()
        return found

    with caplog.at_level(logging.INFO):
        found = run(all_of_them())
    told = [record.getMessage() for record in caplog.records if "asking DAP failed" in record.getMessage()]
    assert [TABLE.findall(sentence) for sentence in sorted(told)] == [[table] for table in TABLES]
    for table, one in zip(TABLES, found, strict=True):
        assert isinstance(one.error, StopAll)
        assert one.error.message.startswith(f"{table}: asking DAP failed: ")
        assert TABLE.findall(one.error.message) == [table]
        # What the worker makes of it: the result, and the ledger.
        with pytest.raises(Cd2Error) as caught:
            run(replicator.failed(TableName.parse(table), "sync", one.error, last_try=True))
        result = caught.value.result
        assert result is not None
        assert result.error is not None
        assert TABLE.findall(result.error.message) == [table]
        assert str(result.table) == table
    noted = execute(target, "SELECT string_agg(error, E'\\n' ORDER BY table_name) FROM cd2.freshness WHERE error <> ''")
    assert TABLE.findall(noted) == list(TABLES)
    assert len({without_table(sentence) for sentence in noted.splitlines()}) == 1
