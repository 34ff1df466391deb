"""Whatever of the real stack is killed with SIGKILL, nothing of it runs a few seconds later."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.processes import families
from local.settings import REPOSITORY
from local.stack import StackClient
from local.stack.ending import end_stack
from tests.stack.programs import eventually

pytestmark = pytest.mark.slow

NAMES = {"api-server", "scheduler", "dag-processor", "triggerer", "moto.server", "local.simulator", "bin/postgres"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stack")
    yield folder
    end_stack(folder)


def start(folder: Path, command: str) -> subprocess.Popen[bytes]:
    """`make run` or `make up`, which leads a process group as a shell's job does."""
    environment = os.environ | {"CD2_LOCAL_DIR": str(folder), "TABLES": "users,courses,roles", "PACE": "real"}
    environment["MAKEFLAGS"] = " -- PACE=real"  # as make hands it on, also to what `up` leaves in the background
    with (folder / "printed").open("wb") as printed:
        return subprocess.Popen(
            [sys.executable, "-m", "local", command],
            cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, process_group=0,
        )  # fmt: skip


def has_printed(folder: Path, process: subprocess.Popen[bytes], text: str) -> None:
    def said() -> bool:
        printed = (folder / "printed").read_text()
        assert process.poll() in (None, 0), printed
        return text in printed

    assert eventually(said, 300), f"'{text}' was never printed"


def command_line(process: psutil.Process) -> list[str]:
    """Its arguments; none if it has ended: tasks come and go while we look."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # ZombieProcess is one of these
        return []


def everything_of(owner: int) -> set[psutil.Process]:
    """The owner of a stack and all that it started, which must be complete."""
    process = psutil.Process(owner)
    found = {process, *process.children(recursive=True)}
    lines = [" ".join(command_line(each)) for each in found]
    assert {name for name in NAMES if any(name in line for line in lines)} == NAMES
    assert any("LocalExecutor" in line for line in lines)
    return found


def assert_all_end(processes: set[psutil.Process]) -> None:
    began = time.monotonic()
    eventually(lambda: not any(families.is_alive(process) for process in processes), 60)
    left = [process for process in processes if families.is_alive(process)]
    described = [f"{process.pid}: {' '.join(command_line(process))}" for process in left]
    for process in left:
        process.kill()
    assert described == []
    print(f"everything had ended after {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("victims", ["the runner", "its process group", "the runner and a guard"])
def test_nothing_of_make_run_is_left_after_kill_9_of(victims: str, folder: Path) -> None:
    runner = start(folder, "run")
    has_printed(folder, runner, " done")
    processes = everything_of(runner.pid)
    match victims:
        case "the runner":
            runner.kill()
        case "its process group":
            os.killpg(runner.pid, signal.SIGKILL)
        case _:
            (guard,) = [
                process for process in psutil.Process(runner.pid).children() if "scheduler" in command_line(process)
            ]
            families.send([psutil.Process(runner.pid), guard], signal.SIGKILL)
    runner.wait()
    assert_all_end(processes)


def assert_ctrl_c_ends_the_run_and_leaves_the_stack(folder: Path) -> None:
    runner = start(folder, "run")
    has_printed(folder, runner, " done")
    runner.send_signal(signal.SIGINT)
    assert runner.wait(300) == 128 + signal.SIGINT
    printed = (folder / "printed").read_text()
    assert "Stopping the run manual__" in printed
    assert "The run is marked as failed" in printed
    client = StackClient(folder)
    assert client.folder.state()["status"] == "running"
    assert client.api.unfinished_runs() == []


def test_make_up_outlives_ctrl_c_of_a_run_on_it_and_nothing_is_left_after_kill_9_of_its_supervisor(
    folder: Path,
) -> None:
    command = start(folder, "up")
    assert command.wait(300) == 0, (folder / "printed").read_text()
    assert_ctrl_c_ends_the_run_and_leaves_the_stack(folder)
    supervisor = StackClient(folder).folder.state()["pid"]
    processes = everything_of(supervisor)
    # What `make up` leaves behind when it has returned; PostgreSQL's own processes come and go.
    staying = [each for each in processes if each.pid == supervisor or "bin/postgres" in " ".join(command_line(each))]
    assert len(staying) > 1
    time.sleep(2)
    assert all(families.is_alive(process) for process in staying)
    os.kill(supervisor, signal.SIGKILL)
    assert_all_end(processes)


def test_nothing_is_left_after_kill_9_of_make_up_while_it_starts(folder: Path) -> None:
    command = start(folder, "up")
    client = StackClient(folder)
    assert eventually(lambda: client.folder.state()["status"] == "starting", 120)
    processes = set(psutil.Process(command.pid).children(recursive=True))
    assert processes
    command.kill()
    command.wait()
    assert_all_end(processes)
    assert client.folder.state()["status"] == "stopped"
