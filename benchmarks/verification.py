"""`python -m benchmarks.verification`: a verification against a re-init of the same table, side by side.

Both read the same finished snapshot, in turns, each in its own process and on a copy of the same database.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.arena import Arena
from benchmarks.competitors import COMPETITORS, OURS, Load, work_seconds
from benchmarks.measure import Usage, measure
from benchmarks.shapes import NAMESPACE
from local.settings import REPOSITORY

ROWS, REPEATS = 1_000_000, 3
SHAPES = ("narrow", "wide")
BASE, COPY = "verify_base", "verify_copy"
MOST_TIME, MOST_MEMORY = 1.3, 150e6
REPORT = REPOSITORY / "docs" / "benchmarks-verification.md"
CASES = {"re-init": "init", "verification": "verify", "repair of 1% of the rows": "repair"}
"""What is measured -> the action of `benchmarks.run_ours`."""
DAMAGE = "DELETE FROM {table} WHERE id % 200 = 0; UPDATE {table} SET user_id = 1 WHERE id % 200 = 1"

Runs = dict[tuple[str, str], list[tuple[Usage, float]]]


def run(directory: Path, rows: int, repeats: int, shapes: Sequence[str] = SHAPES) -> Runs:
    """Measure; :returns: cost and seconds of work of each run, by shape and case."""
    runs: Runs = {}
    with Arena(directory) as arena:
        for shape in shapes:
            table = arena.service.add_table(shape, rows)
            arena.service.snapshot(table)
            base = arena.new_database(BASE)
            _measured(arena, "init", table, base, BASE, f"{shape}-base")
            arena.tidy(base, table)
            arena.service.changes(table, arena.cursor(base, table))
            for repeat in range(repeats):
                names = list(CASES)
                for case in names[repeat % len(names) :] + names[: repeat % len(names)]:
                    dsn = arena.new_database(COPY, template=BASE)
                    if CASES[case] == "repair":
                        with psycopg.connect(dsn) as connection:
                            connection.execute(DAMAGE.format(table=f"{NAMESPACE}.{table}").encode())
                    usage, seconds = _measured(arena, CASES[case], table, dsn, COPY, f"{shape}-{case[:6]}-{repeat}")
                    runs.setdefault((shape, case), []).append((usage, seconds))
                    print(f"{shape:<7} {case:<25} {seconds:7.2f} s   memory {usage.rss / 1e6:4.0f} MB", flush=True)
                    arena.postgres.drop_database(COPY)
            arena.postgres.drop_database(BASE)
    return runs


def _measured(arena: Arena, action: str, table: str, dsn: str, database: str, name: str) -> tuple[Usage, float]:
    arena.settle()
    service = arena.service
    load = Load(action, table, dsn, service.url, service.client_id, service.client_secret)
    program = COMPETITORS[OURS].program(load, arena.postgres.psql_path, arena.mark)
    usage, printed = measure(program, arena.runs / name, arena.servers(database))
    return usage, work_seconds(printed) or usage.wall


def report(runs: Mapping[tuple[str, str], Sequence[tuple[Usage, float]]], rows: int, repeats: int) -> tuple[str, bool]:
    """The page, and whether all that is to be reached is reached."""
    reached = True
    lines = [
        "# Benchmark: verification",
        "",
        "Written by `make bench-verify` (`benchmarks/verification.py`), which overwrites manual changes. A",
        "verification and a re-init of the same table take turns, each in its own process, on a copy of the same",
        "database, with the same finished jobs. A figure is the median of its repeats, without starting Python; memory",
        "is the most. Only the ratios matter.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {rows:,} rows, {repeats} repeats, {os.cpu_count()} processors.",
        "",
        "| table | what | seconds | of a re-init | to reach | memory MB | to reach | temporary MB | server space MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in dict.fromkeys(shape for shape, _ in runs):
        whole = statistics.median(seconds for _, seconds in runs[shape, "re-init"])
        for case in CASES:
            usages = [usage for usage, _ in runs[shape, case]]
            seconds = statistics.median(took for _, took in runs[shape, case])
            memory = max(usage.rss for usage in usages)
            temporary, space = max(usage.temporary for usage in usages), max(usage.server_space for usage in usages)
            limited = case == "verification"
            reached &= memory < MOST_MEMORY and not (limited and seconds > MOST_TIME * whole)
            lines.append(
                f"| {shape} | {case} | {seconds:.2f} | {seconds / whole:.2f} | {f'{MOST_TIME}' if limited else ''} "
                f"| {memory / 1e6:.0f} | {MOST_MEMORY / 1e6:.0f} | {temporary / 1e6:.1f} | {space / 1e6:.1f} |"
            )
    return "\n".join(lines) + "\n", reached


def main() -> int:
    """Measure and write the page; :returns: 1 if something is not reached."""
    rows, repeats = int(os.environ.get("ROWS") or ROWS), int(os.environ.get("REPEATS") or REPEATS)
    runs = run(Path(os.environ.get("CD2_LOCAL_DIR") or REPOSITORY / ".local") / "bench-verify", rows, repeats)
    text, reached = report(runs, rows, repeats)
    print(text)
    if rows == ROWS:
        REPORT.write_text(text)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
