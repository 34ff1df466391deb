"""`python -m benchmarks.refresh`: a refresh of 100 unchanged tables through the real DAG, at DAP's own pace.

Measures the cost of the DAG, not of the loads: duration at that pace, 429s, worker processes and slots, processor of
all components, DAG parsing. Airflow runs with MWAA's heartbeat (5 s): a finished task keeps its slot for up to that
long.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from benchmarks.measure import cpu_of_tree
from local.settings import DOCUMENTED_PACE, REAL_JOB_SECONDS, REPOSITORY, UNLIMITED
from local.stack import Stack

NAMESPACES = ("canvas", "canvas_logs", "catalog")
TABLES = 100
MWAA_HEARTBEAT_S = 5
MOST_PARSE_S, MOST_SLOT_S, MOST_TIME_RATIO = 0.5, 5.0, 1.05
TASKS_ONCE = 3
"""Task processes of a run that belong to no table: prepare_database, list_tables, notify."""
REPORT = REPOSITORY / "docs" / "benchmarks-refresh.md"
FINISHED = re.compile(r"Workload finished .*\bduration=([0-9.]+) .*workload_type=ExecuteTask")

PROBE = """
import sys, time, airflow.sdk
started = time.perf_counter()
import canvas_data_2
print(time.perf_counter() - started, *(m for m in ("dap", "boto3", "asyncpg") if m in sys.modules))
"""


@dataclass(frozen=True)
class Measured:
    """A refresh: times in seconds, and the simulator's counts.

    :param tasks: worker processes that were started for tasks.
    :param slots_s: worker slots that these held, including prepare_database, list_tables and notify.
    :param cpu_s: processor of each component, with all processes that it started.
    """

    tables: int
    per_minute: int
    unchanged: int
    run_s: float
    slots_s: float
    tasks: int
    cpu_s: Mapping[str, float]
    too_many: int
    busiest_minute: int
    parse_s: float
    heavy: tuple[str, ...]


def parse_time(repeats: int = 5) -> tuple[float, tuple[str, ...]]:
    """Median seconds to import the DAG file after Airflow, and the heavy packages that it loaded."""
    found = []
    path = os.pathsep.join((str(REPOSITORY / "dags"), str(REPOSITORY / "plugins")))
    for _ in range(repeats):
        command = [sys.executable, "-c", PROBE]
        ended = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
        )
        seconds, *heavy = ended.stdout.splitlines()[-1].split()
        found.append((float(seconds), tuple(heavy)))
    return sorted(found)[repeats // 2]


def measure(directory: Path, tables: int, per_minute: int, job_seconds: float = REAL_JOB_SECONDS) -> Measured:
    """Fill the replica at full speed, then refresh it at the given pace."""
    with Stack(directory, rows=20) as stack:
        names = [name for name in sorted(stack.simulator.tables()) if name.split(".")[0] in NAMESPACES][:tables]
        conf = {"namespaces": list(NAMESPACES), "tables": names}
        state = stack.wait(stack.trigger(conf), 900)
        print(f"{len(names)} tables are filled: {state}", flush=True)
    heartbeat = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(MWAA_HEARTBEAT_S)}
    paced = Stack(directory, job_creations_per_minute=per_minute, job_seconds=job_seconds, environment=heartbeat)
    with paced as stack:
        stack.simulator.reset_stats()
        log = stack.supervisor.log("scheduler")
        before, cpu_before = len(durations(log)), processor(stack)
        run_id = stack.trigger(conf)
        state = stack.wait(run_id, 60.0 * (len(names) / per_minute + 15))
        cpu_after = processor(stack)
        run = stack.api.run(run_id)
        results = stack.results(run_id)
        stats = stack.simulator.stats()
    slots = durations(log)[before:]
    began, ended = (datetime.fromisoformat(run[key]) for key in ("start_date", "end_date"))
    parse_s, heavy = parse_time()
    print(f"{len(results)} tables are refreshed: {state}", flush=True)
    return Measured(
        tables=len(results),
        per_minute=per_minute,
        unchanged=sum(r["state"] == "complete" and not r["rows_upserted"] + r["rows_deleted"] for r in results),
        run_s=(ended - began).total_seconds(),
        slots_s=sum(slots),
        tasks=len(slots),
        cpu_s={name: cpu_after[name] - seconds for name, seconds in cpu_before.items()},
        too_many=stats["too_many_requests"],
        busiest_minute=stats["data_posts_busiest_minute"],
        parse_s=parse_s,
        heavy=heavy,
    )


def processor(stack: Stack) -> dict[str, float]:
    """CPU seconds that each component has used so far, with the processes that it started.

    Those of the scheduler are its LocalExecutor's, and count as `tasks`.
    """
    pids = {name: stack.supervisor.pid(name) for name in stack.supervisor.names()}
    used = {name: cpu_of_tree(pid) for name, pid in pids.items()}
    own = psutil.Process(pids["scheduler"]).cpu_times()
    used["tasks"] = used["scheduler"] - own.user - own.system
    used["scheduler"] -= used["tasks"]
    return used


def durations(log: Path) -> list[float]:
    """Seconds that each task process held its slot, as Airflow's supervisor logs them."""
    return [float(seconds) for seconds in FINISHED.findall(log.read_text(errors="replace"))]


def report(measured: Measured) -> tuple[str, bool]:
    """Markdown, and whether all numbers are reached."""
    least = 60.0 * measured.tables / measured.per_minute
    time_ratio, slot = measured.run_s / least, measured.slots_s / measured.tables
    lines = [
        (
            f"refresh of {measured.tables} unchanged tables at {measured.per_minute} creations a minute",
            f"at most {MOST_TIME_RATIO} x {least / 60:.1f} min",
            f"{time_ratio:.2f} x ({measured.run_s / 60:.1f} min)",
            time_ratio <= MOST_TIME_RATIO,
        ),
        ("tables found unchanged", "all", str(measured.unchanged), measured.unchanged == measured.tables),
        ("429s", "0", str(measured.too_many), measured.too_many == 0),
        (
            "creations in the busiest minute",
            f"at most {measured.per_minute}",
            str(measured.busiest_minute),
            measured.busiest_minute <= measured.per_minute,
        ),
        (
            "worker processes for tasks",
            f"at most one per table, and {TASKS_ONCE}",
            str(measured.tasks),
            measured.tasks <= measured.tables + TASKS_ONCE,
        ),
        ("worker slot held per table", f"at most {MOST_SLOT_S:.0f} s", f"{slot:.1f} s", slot <= MOST_SLOT_S),
        (
            "DAG file parse, after importing Airflow",
            f"below {MOST_PARSE_S} s, without dap, boto3, asyncpg",
            f"{measured.parse_s:.2f} s, {'loads ' + ', '.join(measured.heavy) if measured.heavy else 'none of them'}",
            measured.parse_s < MOST_PARSE_S and not measured.heavy,
        ),
    ]
    rows = [f"| {what} | {limit} | {found} | {'yes' if good else '**no**'} |" for what, limit, found, good in lines]
    text = "\n".join(
        [
            "# Benchmark: a refresh at DAP's own pace",
            "",
            "Written by `make bench-refresh` (`benchmarks/refresh.py`): the real DAG in a real Airflow (scheduler,",
            "triggerer, LocalExecutor, a heartbeat of 5 s as on MWAA) against the DAP simulator with the",
            f"service's limits; jobs take {REAL_JOB_SECONDS:.0f} s.",
            "",
            "| what | to reach | measured | reached |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Slots: {measured.tasks} processes held them for {measured.slots_s:.0f} s in total. Both are from the log",
            "of Airflow's supervisor, which writes a line when the process of a task has ended.",
            "",
            f"Processor: {sum(measured.cpu_s.values()):.0f} s of all components, as the kernel counts them, with all",
            "processes that a component started:",
            "",
            "| component | CPU s |",
            "|---|---|",
            *(f"| {name} | {seconds:.1f} |" for name, seconds in sorted(measured.cpu_s.items(), key=_most_first)),
            "",
        ]
    )
    return text, all(good for *_, good in lines)


def _most_first(item: tuple[str, float]) -> float:
    return -item[1]


def main() -> int:
    """Measure, print, and write docs/benchmarks-refresh.md if tables and pace are the defaults."""
    tables = int(os.environ.get("TABLES", TABLES))
    per_minute = min(int(os.environ.get("PER_MINUTE", DOCUMENTED_PACE)), UNLIMITED)
    with tempfile.TemporaryDirectory(prefix="cd2-refresh-") as directory:
        text, reached = report(measure(Path(directory), tables, per_minute))
    print("\n" + text)
    if (tables, per_minute) == (TABLES, DOCUMENTED_PACE):
        REPORT.write_text(text)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
