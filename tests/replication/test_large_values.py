"""A value may be as large as PostgreSQL can hold: the worker that loads it does not need more memory for it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from cd2.replication.database.connection import DatabaseTarget
from local.simulator.control import SimulatorControl
from local.simulator.state.objects import LARGE
from tests.replication import measured
from tests.replication.replica import credentials_of, execute
from tests.replication.waiting import WAIT_S
from tests.replication.worker import ROOT

NAMESPACE, TABLE, COLUMN = "canvas", "courses", "syllabus_body"
NAME = f"{NAMESPACE}.{TABLE}"
MEGABYTES = 100


def memory(simulator: SimulatorControl, target: DatabaseTarget, action: str) -> dict[str, int]:
    """What an action takes in a process of its own."""
    where = {"dap": asdict(credentials_of(simulator)), "database": asdict(target)}
    finished = subprocess.run(
        [sys.executable, "-m", "tests.replication.measured", action, NAME],
        cwd=ROOT,
        env=os.environ | {measured.VARIABLE: json.dumps(where), "PYTHONPATH": f"{ROOT}/plugins"},
        stdout=subprocess.PIPE,
        timeout=WAIT_S,
        check=True,
    )
    found: dict[str, int] = json.loads(finished.stdout)
    return found


@pytest.mark.slow
def test_a_worker_needs_less_than_the_largest_value_for_it(simulator: SimulatorControl, target: DatabaseTarget) -> None:
    value = LARGE * (MEGABYTES * 1_000_000 // len(LARGE))
    stored = (
        f"SELECT count(*) FROM {NAME} WHERE md5({COLUMN}) = '{hashlib.md5(value, usedforsecurity=False).hexdigest()}'"
    )
    for action in ("init", "sync", "init"):
        if action == "sync":
            simulator.advance(0.3, [NAME])
        simulator.fault(NAMESPACE, TABLE, "large_value", column=COLUMN, megabytes=MEGABYTES)
        taken = memory(simulator, target, action)
        print(action, {name: f"{number:,}" for name, number in taken.items()})
        assert execute(target, stored) == "1"
        assert taken["peak"] < 4 * len(value)
        assert taken["peak"] - taken["before"] < len(value)
        execute(target, f"UPDATE {NAME} SET {COLUMN} = NULL")
