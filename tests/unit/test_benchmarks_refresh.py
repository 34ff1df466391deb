"""What the benchmark of a refresh says of its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.refresh import Measured, durations, parse_time, report

GOOD = Measured(
    tables=100, per_minute=5, unchanged=100, run_s=1250.0, slots_s=300.0, tasks=103,
    cpu_s={"scheduler": 60.0, "triggerer": 30.5, "simulator": 1.0}, too_many=0, busiest_minute=5,
    parse_s=0.06, heavy=(),
)  # fmt: skip


def test_a_refresh_that_reaches_all_numbers_is_said_to() -> None:
    text, reached = report(GOOD)
    assert reached
    assert "1.04 x (20.8 min)" in text
    assert "3.0 s" in text
    assert "103 processes held them for 300 s" in text
    assert "92 s of all components" in text
    assert text.index("| scheduler | 60.0 |") < text.index("| triggerer | 30.5 |")
    assert "**no**" not in text


@pytest.mark.parametrize(
    "missed",
    [{"run_s": 1261.0}, {"slots_s": 501.0}, {"tasks": 104}, {"too_many": 1}, {"busiest_minute": 6}, {"unchanged": 99},
     {"parse_s": 0.6}, {"heavy": ("boto3",)}],
)  # fmt: skip
def test_a_number_that_is_missed_is_said_so(missed: dict[str, object]) -> None:
    text, reached = report(replace(GOOD, **missed))  # type: ignore[arg-type]
    assert not reached
    assert text.count("**no**") == 1


def test_slots_are_read_from_the_log_of_airflows_supervisor(tmp_path: Path) -> None:
    log = tmp_path / "scheduler.log"
    log.write_text(
        "2026 [info] Workload finished [supervisor] duration=1.5078 exit_code=0 final_state=deferred loc=s.py:2603 "
        "workload_id=01a2 workload_type=ExecuteTask\n2026 [info] something else duration=9\n"
    )
    assert durations(log) == [1.5078]


@pytest.mark.slow
def test_the_dag_file_is_parsed_in_a_moment_and_loads_nothing_heavy() -> None:
    seconds, heavy = parse_time(repeats=1)
    assert seconds > 0
    assert heavy == ()
