"""The supervisor of the local stack, with small programs in place of the real ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.errors import LocalStackError
from local.processes.program import Component
from local.processes.supervisor import ComponentEnded, Supervisor
from tests.stack.programs import FAMILY, SILENT, STUBBORN, component, eventually, guards, running, start_owner


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    one = Supervisor(tmp_path / "stack", "a test")
    one.acquire()
    yield one
    one.stop()
    one.release()


def test_stop_ends_children_and_grandchildren(supervisor: Supervisor) -> None:
    supervisor.start([component(supervisor, "family", FAMILY)])
    assert len(running(supervisor.directory)) == 3
    supervisor.stop()
    assert running(supervisor.directory) | guards(supervisor.directory) == set()


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(supervisor: Supervisor) -> None:
    supervisor.start([component(supervisor, "stubborn", STUBBORN, grace=0.5)])
    began = time.monotonic()
    supervisor.stop()
    assert running(supervisor.directory) == set()
    assert time.monotonic() - began < 30


def test_a_killed_program_is_named_with_its_signal(supervisor: Supervisor) -> None:
    supervisor.start([component(supervisor, "family", FAMILY)])
    os.kill(supervisor.pid("family"), signal.SIGKILL)
    assert eventually(lambda: not supervisor.running("family"))
    with pytest.raises(ComponentEnded, match="family was killed by signal 9") as ended:
        supervisor.check()
    assert (ended.value.name, ended.value.status) == ("family", -signal.SIGKILL)
    supervisor.stop()
    assert running(supervisor.directory) == set()


def test_a_program_that_ends_while_starting_is_named_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    crash = "print('loading', flush=True); raise SystemExit('no such thing')"
    with pytest.raises(LocalStackError, match=r"(?s)broken ended with status 1\. .*loading.*no such thing"):
        supervisor.start([component(supervisor, "fine", FAMILY), component(supervisor, "broken", crash)])
    supervisor.stop()
    assert running(supervisor.directory) == set()


def test_a_program_that_never_becomes_ready_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(LocalStackError, match="silent did not become ready within 1 s"):
        supervisor.start([component(supervisor, "silent", SILENT, start_timeout=1.0)])


def test_a_program_that_is_not_there_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(LocalStackError, match=r"missing cannot be started: .*No such file.*/nowhere/program"):
        supervisor.start([Component("missing", ["/nowhere/program"], lambda: True)])
    assert supervisor.names() == []


def test_a_one_off_program_that_fails_is_named_with_its_log(supervisor: Supervisor) -> None:
    with pytest.raises(ComponentEnded, match=r"(?s)migrate ended with status 3.*wrong schema"):
        supervisor.run_once(component(supervisor, "migrate", "print('wrong schema'); raise SystemExit(3)"))
    assert supervisor.names() == []


def test_a_one_off_program_that_hangs_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(LocalStackError, match="migrate takes longer than 1 s"):
        supervisor.run_once(component(supervisor, "migrate", SILENT, start_timeout=1.0))


def test_the_end_of_a_one_off_program_is_no_failure_of_what_another_thread_starts(supervisor: Supervisor) -> None:
    slow = "import time; time.sleep(1.5); print('ready', flush=True); time.sleep(600)"
    with ThreadPoolExecutor() as pool:
        started = pool.submit(supervisor.start, [component(supervisor, "slow", slow)])
        for _ in range(5):
            supervisor.run_once(component(supervisor, "migrate", "pass"))
        started.result()
    supervisor.check()
    assert supervisor.names() == ["slow"]


def test_logs_start_empty_with_every_start(supervisor: Supervisor) -> None:
    for _ in range(2):
        supervisor.start([component(supervisor, "family", FAMILY)])
        supervisor.stop()
    assert supervisor.log("family").read_text().count("ready") == 1


def test_a_second_starter_is_told_who_owns_the_folder(tmp_path: Path) -> None:
    owner = start_owner(tmp_path / "stack")
    try:
        before = running(tmp_path / "stack")
        for _ in range(2):
            with pytest.raises(LocalStackError, match=rf"is in use by a test \(process {owner.pid}\)"):
                Supervisor(tmp_path / "stack").acquire()
        assert running(tmp_path / "stack") == before, "the owner's programs were disturbed"
    finally:
        owner.kill()
        owner.communicate()


def test_a_recorded_pid_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SILENT], start_new_session=True)
    try:
        folder = tmp_path / "stack"
        folder.mkdir()
        entry = {"name": "scheduler", "pid": stranger.pid, "created": time.time() - 3600}
        (folder / "processes.json").write_text(json.dumps([entry]))
        supervisor = Supervisor(folder)
        assert supervisor.acquire() == 0
        supervisor.release()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_two_stacks_do_not_disturb_each_other(tmp_path: Path, supervisor: Supervisor) -> None:
    other = Supervisor(tmp_path / "other")
    other.acquire()
    for each in (supervisor, other):
        each.start([component(each, "family", FAMILY)])
    other.stop()
    other.release()
    supervisor.check()
    assert len(running(supervisor.directory)) == 3
