"""The supervisor of the local stack, with small programs in place of the real ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local import processes
from local.errors import LocalStackError
from local.settings import REPOSITORY
from local.supervisor import Component, Supervisor

# A program with a child in its own session group and a grandchild, as Airflow's scheduler has: says when all live.
FAMILY = """
import os, subprocess, sys, time
child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); {rest}"
subprocess.Popen([sys.executable, "-c", child.format(rest="time.sleep(600)")])
time.sleep(0.5)
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
from local.supervisor import Component, Supervisor
supervisor = Supervisor(Path(sys.argv[1]), "a test")
supervisor.acquire()
log = supervisor.log("family")
component = Component("family", [sys.executable, "-c", sys.argv[2]], lambda: "ready" in log.read_text())
supervisor.start([component])
print("started", flush=True)
time.sleep(600)
"""


def component(supervisor: Supervisor, name: str, code: str, **options: float) -> Component:
    """A Python program that is ready when it has said so."""
    log = supervisor.log(name)
    return Component(
        name, [sys.executable, "-c", code], lambda: "ready" in log.read_text(), dict(os.environ), **options
    )


def running(folder: Path) -> set[psutil.Process]:
    """All living processes of the stack in a folder."""
    return processes.marked(str(folder))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    one = Supervisor(tmp_path / "stack", "a test")
    one.acquire()
    yield one
    one.stop()
    one.release()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the folder and runs a family of three in it."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "stack"), FAMILY],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    yield process
    process.kill()
    process.communicate()
    processes.end(running(tmp_path / "stack"))


def test_stop_ends_children_and_grandchildren(supervisor: Supervisor):
    supervisor.start([component(supervisor, "family", FAMILY)])
    assert len(running(supervisor.directory)) == 3
    supervisor.stop()
    assert running(supervisor.directory) == set()


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(supervisor: Supervisor):
    supervisor.start([component(supervisor, "stubborn", STUBBORN, grace=0.5)])
    began = time.monotonic()
    supervisor.stop()
    assert running(supervisor.directory) == set()
    assert time.monotonic() - began < 5


def test_what_a_killed_program_leaves_is_ended_too(supervisor: Supervisor):
    supervisor.start([component(supervisor, "family", FAMILY)])
    os.kill(supervisor.pid("family"), signal.SIGKILL)
    with pytest.raises(LocalStackError, match="family was killed by signal 9"):
        assert eventually(lambda: bool(supervisor.check()))
    supervisor.stop()
    assert running(supervisor.directory) == set()


def test_a_program_that_ends_while_starting_is_named_with_the_end_of_its_log(supervisor: Supervisor):
    crash = "print('loading', flush=True); raise SystemExit('no such thing')"
    with pytest.raises(LocalStackError, match=r"(?s)broken ended with status 1\. .*loading.*no such thing"):
        supervisor.start([component(supervisor, "fine", STUBBORN, grace=0.2), component(supervisor, "broken", crash)])
    supervisor.stop()
    assert running(supervisor.directory) == set()


def test_a_program_that_never_becomes_ready_is_named(supervisor: Supervisor):
    with pytest.raises(LocalStackError, match="silent did not become ready within 1 s"):
        supervisor.start([component(supervisor, "silent", "import time; time.sleep(600)", start_timeout=1.0)])


def test_a_program_that_is_not_there_is_named(supervisor: Supervisor):
    with pytest.raises(LocalStackError, match="missing cannot be started"):
        supervisor.start([Component("missing", ["/nowhere/program"], lambda: True)])


def test_a_one_off_program_that_fails_is_named_with_its_log(supervisor: Supervisor):
    with pytest.raises(LocalStackError, match=r"(?s)migrate ended with status 3.*wrong schema"):
        supervisor.run_once(component(supervisor, "migrate", "print('wrong schema'); raise SystemExit(3)"))
    assert supervisor.names() == []


def test_logs_start_empty_with_every_start(supervisor: Supervisor):
    for _ in range(2):
        supervisor.start([component(supervisor, "family", FAMILY)])
        supervisor.stop()
    assert supervisor.log("family").read_text().count("ready") == 1


def test_a_second_starter_is_told_who_owns_the_folder(tmp_path: Path, owner: subprocess.Popen[str]):
    with pytest.raises(LocalStackError, match=rf"is in use by a test \(process {owner.pid}\)"):
        Supervisor(tmp_path / "stack").acquire()
    assert len(running(tmp_path / "stack")) == 3, "the owner's programs were disturbed"


def test_after_kill_9_of_the_owner_the_next_one_ends_what_it_left(tmp_path: Path, owner: subprocess.Popen[str]):
    owner.kill()
    owner.wait()
    assert len(running(tmp_path / "stack")) == 3
    following = Supervisor(tmp_path / "stack", "the next")
    assert following.acquire() == 3
    assert running(tmp_path / "stack") == set()
    following.start([component(following, "family", FAMILY)])
    following.stop()
    following.release()


def test_a_recorded_pid_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path: Path):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
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


def test_two_stacks_do_not_disturb_each_other(tmp_path: Path, supervisor: Supervisor):
    other = Supervisor(tmp_path / "other")
    other.acquire()
    for each in (supervisor, other):
        each.start([component(each, "stubborn", STUBBORN, grace=0.2)])
    other.stop()
    other.release()
    supervisor.check()
    assert len(running(supervisor.directory)) == 1
