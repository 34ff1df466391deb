"""The benchmarks as a whole, with tiny tables: they run, they verify, and they leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.arena import Arena
from benchmarks.cases import Benchmark
from benchmarks.competitors import CLIENT, COMPETITORS, HAND, OURS, PSQL, Load, create_table
from benchmarks.measure import measure
from benchmarks.options import DOCUMENT, Options
from benchmarks.results import Results
from benchmarks.shapes import NAMESPACE
from local.compare import compare
from local.errors import LocalStackError
from local.processes import families
from local.settings import REPOSITORY

ROWS = 2_000


def command(directory: Path, **options: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROWS", "SHAPES", "CASES"))}
    environment = kept | {"CD2_LOCAL_DIR": str(directory), "REPEATS": "1", **options}
    argv = [sys.executable, "-m", "benchmarks"]
    return subprocess.Popen(
        argv, cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def running(directory: Path) -> set[int]:
    """Processes that a benchmark in the folder has started."""
    return {process.pid for process in families.marked(str(directory / "bench" / "arena" / "simulator"))}


@pytest.mark.slow
def test_all_cases_run_and_the_report_tells_of_each(tmp_path: Path) -> None:
    document = DOCUMENT.read_bytes() if DOCUMENT.exists() else None
    process = command(tmp_path, ROWS_LIST=str(ROWS), SHAPES="narrow")
    printed, said = process.communicate(timeout=900)
    assert process.returncode == 0, printed[-2000:] + said[-3000:]

    found = Results.load(tmp_path / "bench" / "results.json")
    by_case = {(run.case, run.competitor): run for run in found.runs}
    expected = {("init", name) for name in (OURS, CLIENT, PSQL)}
    expected |= {(case, name) for case in ("sync", "unchanged") for name in (OURS, CLIENT)}
    expected.add(("sync", HAND))
    assert set(by_case) == expected
    for (_, name), run in by_case.items():
        assert run.usage.cpu > 0
        by_psql = name in (PSQL, HAND)
        assert run.usage.server_cpu > 0 or by_psql
        # psql is gone after milliseconds with so few rows, perhaps before anybody looked
        assert run.usage.rss > 1_000_000 or by_psql
        if by_psql:
            assert run.usage.temporary == 0
        else:
            assert run.work_s is not None
            assert 0 < run.work_s < run.usage.wall
    # The client decompresses the whole snapshot into a file.
    narrow = found.data[f"init narrow {ROWS}"]
    assert by_case["init", CLIENT].usage.temporary > 0.9 * narrow["decompressed"]
    assert 240 <= narrow["decompressed"] / narrow["lines"] <= 260
    assert found.data[f"sync narrow {ROWS}"]["lines"] == pytest.approx(0.22 * ROWS, abs=2)
    assert found.data[f"unchanged narrow {ROWS}"]["lines"] == 0
    assert len(found.checks) == 3
    assert all("value by value" in check for check in found.checks)

    assert any("ours, client, hand ended with the same" in check for check in found.checks)
    assert "ours / by hand, work" in printed

    text = (tmp_path / "bench" / "benchmarks.md").read_text()
    for title in ("Numbers to reach", "Init", "Sync of 20%", "Sync of an unchanged table"):
        assert f"## {title}" in text
    assert (DOCUMENT.read_bytes() if DOCUMENT.exists() else None) == document
    assert not (tmp_path / "bench" / "arena").exists()
    assert not running(tmp_path)


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_running_not_even_what_a_killed_run_left(tmp_path: Path) -> None:
    killed = command(tmp_path, ROWS_LIST=str(ROWS), CASES="init")
    _wait_for(killed, "narrow table")
    left = running(tmp_path)
    killed.kill()
    killed.communicate()
    assert left

    interrupted = command(tmp_path, ROWS_LIST=str(ROWS), CASES="init")
    _wait_for(interrupted, "narrow table")
    assert not left & running(tmp_path)
    assert running(tmp_path)
    time.sleep(0.5)
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=300)
    assert interrupted.returncode == 130, said
    assert "nothing is left running" in said
    assert not running(tmp_path)
    assert not (tmp_path / "bench" / "arena").exists()


def _wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"'{text}' was never said")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena(tmp_path_factory.mktemp("arena") / "arena") as started:
        yield started


@pytest.mark.slow
def test_a_load_that_loses_rows_is_no_result(arena: Arena) -> None:
    """The official client takes an object that was cut after a line for a whole one."""
    results = Results({}, {})
    spoilt: list[int] = []

    def after_a_run() -> None:
        if not spoilt:
            spoilt.append(arena.service.control.fault(NAMESPACE, kind="truncated_object", cut="after_line"))

    options = Options(rows_list=(500,), shapes=("narrow",), cases=("init",), repeats=1)
    with pytest.raises(LocalStackError, match=r"client ended with \d+ rows in bench_narrow_500, the simulator has 500"):
        Benchmark(arena, options, results, lambda _: None, after_a_run).run()
    assert [run.competitor for run in results.runs] == [OURS]


def test_psql_copies_the_wide_table_whole_into_the_same_table_that_the_engine_makes(
    arena: Arena, tmp_path: Path
) -> None:
    table = arena.service.add_table("wide", 300)
    snapshot = tmp_path / "snapshot.tsv"
    data = arena.service.snapshot(table, snapshot)
    described = arena.service.described(table)
    assert data.lines == snapshot.read_bytes().count(b"\n") == 300
    assert len(described["columns"]) == 50
    columns = tuple(column["name"] for column in described["columns"])
    catalogues = []
    for name in (OURS, PSQL):
        dsn = arena.new_database(name)
        if name == PSQL:
            create_table(dsn, described)
        service = arena.service
        load = Load("init", table, dsn, service.url, service.client_id, service.client_secret, snapshot, columns)
        measure(COMPETITORS[name].program(load, arena.postgres.psql_path, arena.mark), tmp_path / "run")
        [difference] = compare(service.url, dsn, [f"{NAMESPACE}.{table}"])
        assert difference.equal, difference
        catalogues.append(_catalogue(dsn, table))
    assert catalogues[0] == catalogues[1]


def _catalogue(dsn: str, table: str) -> list[tuple[Any, ...]]:
    columns = """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull, attlen, attstorage FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname"""
    keys = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass ORDER BY conname"
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = %s"
    with psycopg.connect(dsn) as connection:
        name = f"{NAMESPACE}.{table}"
        found = connection.execute(columns, [name]).fetchall() + connection.execute(keys, [name]).fetchall()
        return found + connection.execute(indexes, [NAMESPACE, table]).fetchall()
