"""Whatever of a stack is killed with SIGKILL, nothing of it runs a few seconds later. With small programs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local.processes import families
from local.processes.supervisor import Supervisor
from tests.stack.programs import FAMILY, component, eventually, guards, running, start_owner

Kill = Callable[[subprocess.Popen[str], Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    families.end(running(tmp_path / "stack") | guards(tmp_path / "stack"))


@pytest.fixture
def owner(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = start_owner(folder)
    yield process
    process.kill()
    process.communicate()


def the_owner(owner: subprocess.Popen[str], folder: Path) -> None:
    owner.kill()


def its_process_group(owner: subprocess.Popen[str], folder: Path) -> None:
    os.killpg(owner.pid, signal.SIGKILL)


def the_owner_and_a_guard(owner: subprocess.Popen[str], folder: Path) -> None:
    guard = min(guards(folder), key=lambda process: process.create_time())
    families.send([psutil.Process(owner.pid), guard], signal.SIGKILL)


def the_owner_and_all_its_children(owner: subprocess.Popen[str], folder: Path) -> None:
    process = psutil.Process(owner.pid)
    families.send([process, *process.children()], signal.SIGKILL)
    owner.wait()


def the_owner_and_every_program(owner: subprocess.Popen[str], folder: Path) -> None:
    programs = [child for guard in guards(folder) for child in guard.children()]
    families.send([psutil.Process(owner.pid), *programs], signal.SIGKILL)


@pytest.mark.parametrize(
    "kill",
    [
        the_owner,
        its_process_group,
        the_owner_and_a_guard,
        the_owner_and_every_program,
    ],
)
def test_nothing_is_left_running_after_kill_9_of(kill: Kill, owner: subprocess.Popen[str], folder: Path) -> None:
    before = running(folder) | guards(folder)
    assert len(before) == 4 + 2
    kill(owner, folder)
    assert eventually(lambda: not any(families.is_alive(process) for process in before))
    assert not running(folder) | guards(folder)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a program with its parent")
def test_a_program_ends_with_its_guard_even_if_the_owner_was_killed_too(
    owner: subprocess.Popen[str], folder: Path
) -> None:
    programs = [child for guard in guards(folder) for child in guard.children()]
    assert len(programs) == 2
    the_owner_and_all_its_children(owner, folder)
    assert eventually(lambda: not any(families.is_alive(process) for process in programs))


def test_the_next_owner_waits_until_nothing_of_the_killed_one_runs(owner: subprocess.Popen[str], folder: Path) -> None:
    before = running(folder)
    owner.kill()
    owner.wait()
    following = Supervisor(folder, "the next")
    following.acquire()
    assert not any(families.is_alive(process) for process in before)
    following.start([component(following, "family", FAMILY)])
    # longer than a guard of the killed owner could take
    time.sleep(1)
    following.check()
    assert len(running(folder)) == 3
    following.stop()
    following.release()


def test_the_next_owner_ends_what_is_left_when_even_the_guards_were_killed(
    owner: subprocess.Popen[str], folder: Path
) -> None:
    the_owner_and_all_its_children(owner, folder)
    following = Supervisor(folder, "the next")
    following.acquire()
    assert not running(folder) | guards(folder)
    following.release()


def test_what_a_killed_program_left_is_ended_while_its_owner_lives(owner: subprocess.Popen[str], folder: Path) -> None:
    family = next(guard for guard in guards(folder) if len(guard.children(recursive=True)) == 3)
    members = family.children(recursive=True)
    family.children()[0].kill()
    assert eventually(lambda: not any(families.is_alive(process) for process in members))
    assert owner.poll() is None
    assert len(running(folder)) == 1, "the other program is not concerned"
