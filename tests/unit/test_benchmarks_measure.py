"""The costs of a program are measured as they are: time, processor, memory, files."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.measure import Program, Usage, cpu_of_tree, measure, size_of
from local.errors import LocalStackError

MEGABYTE = 1_000_000


def python(code: str, directory: Path) -> tuple[Usage, str]:
    return measure(Program([sys.executable, "-c", code], dict(os.environ)), directory / "run")


def test_time_and_processor_of_a_program_and_its_children(tmp_path: Path) -> None:
    busy = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    code = f"""
import subprocess, sys, time
time.sleep(0.5)
subprocess.run([sys.executable, "-c", {busy!r}])
print("done")
"""
    usage, printed = python(code, tmp_path)
    assert printed == "done\n"
    assert usage.wall > 0.9
    assert 0.4 <= usage.cpu < usage.wall


def test_a_short_peak_of_memory_is_seen_and_our_own_memory_is_not_counted(tmp_path: Path) -> None:
    ballast = bytearray(os.urandom(1) * (300 * MEGABYTE))
    small, _ = python("import time; time.sleep(0.1)", tmp_path)
    large, _ = python("x = bytearray(120_000_000); del x; import time; time.sleep(0.1)", tmp_path)
    assert len(ballast) == 300 * MEGABYTE
    assert 2 * MEGABYTE < small.rss < 60 * MEGABYTE
    assert 120 * MEGABYTE < large.rss < 180 * MEGABYTE
    assert small.uss <= small.rss


def test_memory_of_children_counts(tmp_path: Path) -> None:
    child = "x = bytearray(80_000_000); import time; time.sleep(1)"
    usage, _ = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", tmp_path)
    assert usage.rss > 85 * MEGABYTE
    assert usage.uss > 80 * MEGABYTE


def test_temporary_files_count_also_after_they_are_gone(tmp_path: Path) -> None:
    code = """
import tempfile, time
with tempfile.NamedTemporaryFile() as file:
    file.write(bytes(3_000_000)); file.flush(); time.sleep(1)
"""
    usage, _ = python(code, tmp_path)
    assert 3 * MEGABYTE <= usage.temporary < 4 * MEGABYTE
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux shows open files that have no name")
def test_temporary_files_without_a_name_count(tmp_path: Path) -> None:
    code = """
import os, tempfile, time
file = tempfile.TemporaryFile()
os.write(file.fileno(), bytes(2_000_000)); time.sleep(1)
"""
    usage, _ = python(code, tmp_path)
    assert 2 * MEGABYTE <= usage.temporary < 3 * MEGABYTE


def test_a_program_without_files_uses_no_disk(tmp_path: Path) -> None:
    usage, _ = python("import time; print('x' * 100_000); time.sleep(0.1)", tmp_path)
    assert usage.temporary == 0


def test_a_failing_program_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"status 3:\n  no such luck"):
        python("import sys; print('no such luck', file=sys.stderr); sys.exit(3)", tmp_path)
    assert not (tmp_path / "run").exists()


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    code = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
"""
    _, printed = python(code, tmp_path)
    deadline = time.monotonic() + 60
    while psutil.pid_exists(int(printed)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(printed)) or psutil.Process(int(printed)).status() == psutil.STATUS_ZOMBIE


def test_processor_of_a_server_includes_children_that_have_ended() -> None:
    before = cpu_of_tree(os.getpid())
    measure_of = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", measure_of]) == 0
    assert cpu_of_tree(os.getpid()) - before >= 0.3


def test_the_size_of_a_folder_is_what_its_files_take_on_disk(tmp_path: Path) -> None:
    assert size_of(tmp_path / "missing") == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(os.urandom(200_000))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(50 * MEGABYTE)
    assert 200_000 <= size_of(tmp_path) < 2 * MEGABYTE
