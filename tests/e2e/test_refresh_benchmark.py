"""The benchmark of a refresh, small: its figures are what the run, the processes and the kernel say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.refresh import TASKS_ONCE, measure, report

TABLES = 4


@pytest.mark.slow
def test_a_small_refresh_is_measured_through_the_real_dag(tmp_path: Path) -> None:
    measured = measure(tmp_path, TABLES, per_minute=60, job_seconds=1.0)
    assert (measured.tables, measured.unchanged, measured.too_many) == (TABLES, TABLES, 0)
    assert 0 < measured.busiest_minute <= TABLES
    # What belongs to no table has one process each; a table has at most two, or three where Airflow repeats a try.
    assert TASKS_ONCE <= measured.tasks <= TASKS_ONCE + 3 * TABLES
    assert measured.slots_s > 0
    assert set(measured.cpu_s) == {
        "postgres", "simulator", "aws", "api-server", "scheduler", "tasks", "dag-processor", "triggerer",
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in measured.cpu_s.values())
    assert measured.cpu_s["tasks"] > 0.1 * measured.tasks
    text, _ = report(measured)
    assert f"refresh of {TABLES} unchanged tables at 60 creations a minute" in text
    assert f"{measured.tasks} processes held them" in text
