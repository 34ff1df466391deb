"""`make run` as a person uses it: every table of every namespace, then again."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cd2.replication.names import NAMESPACES
from local.compare import compare
from local.processes.record import Record
from local.settings import REPOSITORY
from local.stack import Stack

ROWS = "20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", "run"],
        cwd=REPOSITORY,
        env={**os.environ, "CD2_LOCAL_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def assert_equal(stack: Stack) -> int:
    """An independent comparison; returns the number of tables."""
    tables = compare(stack.simulator_url, stack.replica_dsn)
    assert [table for table in tables if not table.equal] == []
    return len(tables)


@pytest.mark.slow
def test_a_run_replicates_every_table_and_a_second_one_what_has_changed(folder: Path) -> None:
    first = run(folder, ROWS=ROWS)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "[OK] Canvas Data 2 dev:" in first.stdout
    # time passes in the tables of a run only; canvas has most of them, and they were loaded a minute ago
    second = run(folder, NAMESPACES=",".join(NAMESPACES[1:]))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Time passed at the simulator" in second.stdout

    stack = Stack(folder)
    stack.start_only(simulator=True)
    try:
        assert assert_equal(stack) > 100
    finally:
        stack.stop()


@pytest.mark.slow
def test_a_wrong_setting_ends_the_run_with_its_sentence_and_leaves_nothing_running(folder: Path) -> None:
    done = run(folder, ROWS=ROWS, TABLES="roles", AIRFLOW__CD2__ENVIRONMENT="production")
    assert done.returncode != 0
    assert "Setting [cd2] environment = 'production' is wrong: it must be one of dev, stg, prod." in done.stdout
    assert Record(folder).running() == set()
    assert [
        process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])
    ] == []
