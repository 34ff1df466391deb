"""DAP allows 200 calls a minute for signed URLs: all loads of a key share them, and a 429 is waited out."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cd2.replication.dap import downloads, session
from cd2.replication.dap.pacing import OBJECT_CALLS_PER_MINUTE, _clock
from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TransientError, WaitError
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import NO_PACE, assert_equal, credentials_of, execute, run
from tests.replication.simulators import NO_LIMITS, simulator_process
from tests.steps import init

SPAWN = multiprocessing.get_context("spawn")
NAMESPACE, TABLE = "canvas", "pseudonyms"
NAME = f"{NAMESPACE}.{TABLE}"


def calls(simulator: SimulatorControl) -> int:
    made: int = simulator.stats()["calls"].get("object", 0)
    return made


def next_turn(target: DatabaseTarget) -> str:
    return execute(target, "SELECT next_turn FROM cd2.pacer WHERE endpoint = 'object'")


def test_a_table_of_many_objects_takes_one_call(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.settings(rows_per_object=1)
    result = run(init(replicator, NAME))
    assert result.rows_upserted > 5
    assert simulator.stats()["calls"]["download"] == result.rows_upserted
    assert calls(simulator) == 1
    assert_equal(simulator, database, NAME)


def test_urls_that_expire_during_a_load_are_replaced(
    replicator: Replicator, simulator: SimulatorControl, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "DOWNLOAD_PAUSE_S", 0.01)
    simulator.settings(rows_per_object=4)
    simulator.fault(NAMESPACE, TABLE, "expired_url", times=2)
    assert run(init(replicator, NAME)).state == "initialized"
    assert calls(simulator) == 3
    assert_equal(simulator, database, NAME)


def test_a_load_waits_until_dap_gives_urls_again(
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downloads, "URLS_PER_CALL", 2)
    simulator.settings(rows_per_object=4)
    simulator.fault(NAMESPACE, TABLE, "too_many_requests", times=6, endpoint="object", retry_after=0)
    simulator.fault(NAMESPACE, TABLE, "too_many_requests", endpoint="object", retry_after=1)
    before = float(execute(target, "SELECT extract(epoch FROM clock_timestamp())"))
    with caplog.at_level(logging.INFO):
        assert run(init(replicator, NAME)).state == "initialized"
    assert caplog.text.count("DAP answered 429") == 7
    # For everybody, not just for this load.
    pushed = float(execute(target, "SELECT extract(epoch FROM next_turn) FROM cd2.pacer WHERE endpoint = 'object'"))
    assert pushed >= before + 1
    assert_equal(simulator, database, NAME)


def test_a_load_does_not_wait_for_urls_for_ever(
    replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "URL_TRIES", 4)
    simulator.fault(NAMESPACE, TABLE, "too_many_requests", times=50, endpoint="object", retry_after=0)
    with pytest.raises(WaitError, match="429"):
        run(init(replicator, NAME))
    assert calls(simulator) == 4


def test_a_server_that_fails_now_and_then_is_asked_again(
    replicator: Replicator, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "DOWNLOAD_PAUSE_S", 0.01)
    simulator.fault(NAMESPACE, TABLE, "server_error", times=2, endpoint="object")
    assert run(init(replicator, NAME)).state == "initialized"
    simulator.fault(NAMESPACE, TABLE, "server_error", times=20, endpoint="object")
    with pytest.raises(TransientError, match="500"):
        run(init(replicator, NAME))


def test_every_call_takes_its_turn(
    replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "URLS_PER_CALL", 2)
    simulator.settings(rows_per_object=4)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setitem(replicator.pacer._clocks, "object", (1, 1000.0))
    monkeypatch.setattr(replicator.pacer, "_sleep", sleep)
    started = time.monotonic()
    run(init(replicator, NAME))
    turns = waited[-calls(simulator) :]
    assert len(turns) > 2
    elapsed = time.monotonic() - started
    for number, seconds in enumerate(turns):
        assert 1000 * number - elapsed <= seconds <= 1000 * number
    assert next_turn(target)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("86400", 1800, 1800),
        ("Wed, 21 Oct 2065 07:28:00 GMT", 1800, 1800),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 60, 60),
        ("", 60, 60),
    ],
)
def test_what_dap_demands_to_wait_has_a_limit(header: str, least: float, most: float) -> None:
    class Response:
        headers = {"Retry-After": header} if header else {}

    assert least <= session._retry_after(Response()) <= most  # type: ignore[arg-type]


# -- at DAP's own pace -----------------------------------------------------------------------------

TABLES = (
    "users",
    "courses",
    "enrollments",
    "roles",
    "accounts",
    "pseudonyms",
    "submissions",
    "assignments",
    "quizzes",
    "groups",
)
OBJECTS = 500


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[SimulatorControl]:
    """A simulator with DAP's limit for URLs, and tables of 500 objects."""
    rows = [option for table in TABLES for option in ("--table-rows", f"canvas.{table}={OBJECTS}")]
    limit = ("--object-limit", str(OBJECT_CALLS_PER_MINUTE))
    with simulator_process(tmp_path, "--rows", "5", "--rows-per-object", "1", *rows, *NO_LIMITS, *limit) as control:
        yield control


def load(credentials: DapCredentials, target: DatabaseTarget, table: str, per_call: int) -> None:
    """Load one table in a process of its own, as a worker does."""
    downloads.URLS_PER_CALL = per_call
    replicator = Replicator(credentials, target, NO_PACE)
    replicator.pacer._clocks["object"] = _clock(OBJECT_CALLS_PER_MINUTE)
    assert asyncio.run(init(replicator, f"canvas.{table}")).state == "initialized"


@pytest.mark.slow
@pytest.mark.parametrize("per_call", [downloads.URLS_PER_CALL, 10])
def test_ten_tables_of_500_objects_meet_no_429(
    per_call: int, limited: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    """As they are: 50 calls; and with so many calls that the limit is what they wait for.

    Nothing is asserted about the time: a busy machine loads as fast as it can. The number of calls is the least that
    there can be, and `test_pacing` asserts that their turns come at most a tenth later than the limit allows.
    """
    workers = [SPAWN.Process(target=load, args=(credentials_of(limited), target, table, per_call)) for table in TABLES]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10 * 60)
        assert worker.exitcode == 0
    elapsed = time.monotonic() - started
    stats = limited.stats()
    made = len(TABLES) * OBJECTS // per_call
    print(f"{made} calls, {elapsed:.0f} s; the limit allows them in {made / 200 * 60:.0f} s")
    assert stats["calls"]["object"] == made
    assert stats["too_many_requests"] == 0
    assert_equal(limited, database, *(f"canvas.{table}" for table in TABLES))
