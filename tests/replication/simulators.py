"""DAP simulators in processes of their own, and how a shared one is as new for each test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.simulator.control import SimulatorControl
from local.simulator.settings import Settings
from tests.replication.waiting import WAIT_S, wait_until

CALLS = ("list", "schema", "data", "job", "object")
NO_LIMITS = (*(option for call in CALLS for option in (f"--{call}-limit", "0")), "--reuse-jobs", "never")
"""A later option counts: `*NO_LIMITS, "--object-limit", "200"` has that one."""


@contextmanager
def simulator_process(state: Path, *options: str) -> Iterator[SimulatorControl]:
    """A simulator in a process of its own, with these options."""
    command = [sys.executable, "-m", "local.simulator", "--port", "0", "--state", str(state), *options]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address = state / "address"
    try:
        wait_until(lambda: address.exists() or process.poll() is not None)
        assert process.poll() is None, f"the simulator did not start: {(state / 'log').read_text()}"
        control = SimulatorControl(address.read_text().strip())
        yield control
        control.close()
    finally:
        process.terminate()
        process.wait(WAIT_S)


@contextmanager
def left_as_found(control: SimulatorControl) -> Iterator[SimulatorControl]:
    """What the block does to the simulator is undone: faults, settings, and tables with all their rows and schemas."""
    before = control.tables()
    try:
        yield control
    finally:
        control.clear_faults()
        control.settings(**Settings(reuse_jobs="never").as_dict())
        after = control.tables()
        # A table whose description is the same has had no event and no change of its schema.
        for name in [name for name, description in after.items() if before.get(name) != description]:
            control.remove_table(*name.split(".", 1))
        for name in [name for name, description in before.items() if after.get(name) != description]:
            namespace, table = name.split(".")
            # Its rows are made from the seed and the name: they are the same again.
            control.add_table(namespace, table)
