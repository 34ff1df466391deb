"""Large tables: memory does not grow with them, and nobody waits while they are generated."""

import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.simulator.running import UNLIMITED, NewSimulator, RawClient, RunningSimulator


def memory(simulator: RunningSimulator) -> float:
    """The most the simulator ever had, in MB."""
    assert simulator.process is not None
    status = Path(f"/proc/{simulator.process.pid}/status").read_text()
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024


def generated(simulator: RunningSimulator, name: str) -> tuple[float, float]:
    """Seconds until a snapshot is there, and the longest wait for another call meanwhile."""
    raw = RawClient(simulator.url)
    raw.login()
    simulator.control.job_seconds(0.001)
    started = time.monotonic()
    job = raw.data(name).json()
    longest = 0.0
    while job["status"] != "complete":
        asked = time.monotonic()
        simulator.control.health()
        longest = max(longest, time.monotonic() - asked)
        time.sleep(0.02)
        job = raw.get(f"/dap/job/{job['id']}").json()
        assert job["status"] != "failed"
    return time.monotonic() - started, longest


def peak(new_simulator: NewSimulator, rows: int, rows_per_second: int) -> float:
    """The memory that snapshot and changes of a table took, in MB; at least so many rows a second were generated."""
    name = "canvas.content_participations"
    options = (*UNLIMITED, "--job-limit", "0", "--rows", "5", "--table-rows", f"{name}={rows}")
    simulator = new_simulator(*options, state=str(rows))
    seconds, longest = generated(simulator, name)
    assert rows / seconds > rows_per_second, f"{rows / seconds:.0f} rows a second"
    assert longest < 10, f"another call waited {longest:.2f} s"
    simulator.control.advance(tables=[name], inserts=0.01, updates=0.05, deletes=0.01)
    generated(simulator, name)
    used = memory(simulator)
    simulator.stop()
    return used


def test_memory_does_not_grow_with_a_table(new_simulator: NewSimulator) -> None:
    small, large = peak(new_simulator, 20_000, 5_000), peak(new_simulator, 300_000, 5_000)
    assert large < small + 15, f"{small:.0f} MB for 20,000 rows, {large:.0f} MB for 300,000"


@pytest.mark.slow
def test_three_million_rows(new_simulator: NewSimulator) -> None:
    assert psutil.disk_usage(tempfile.gettempdir()).free > 1e9, "needs 1 GB below the temporary folder"
    assert peak(new_simulator, 3_000_000, 30_000) < 250
