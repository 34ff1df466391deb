"""What is said to a person whose command meets a stack that already runs, or ends with it."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from local.command import run
from local.command.report import print_kept
from local.command.running import check_usable, outdated
from local.command.service import Stopped, up
from local.errors import LocalStackError
from local.settings import DOCUMENTED_PACE, UNLIMITED, Options
from local.stack import Stack
from local.stack.client import StackClient
from local.stack.folder import Folder
from tests.stack.programs import SIMPLE, component
from tests.stack.programs import running as running_programs

Running = Callable[..., Folder]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Announces a stack of 200 rows on port 8123 that this process runs; its packages are in a folder of the test."""
    (tmp_path / "venv").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    (tmp_path / "venv" / "cd2-setup.txt").write_text("the packages")

    def announce(purpose: str = "make up", rate: int = UNLIMITED) -> Folder:
        folder = Folder(tmp_path / "stack")
        ports = dict.fromkeys(("simulator", "aws", "postgres"), 1) | {"airflow": 8123}
        folder.remember(rows=200, job_creations_per_minute=rate, ports=ports)
        folder.announce("running", purpose=purpose)
        return folder

    return announce


def refused(folder: Folder, **given: Any) -> str:
    options = Options(directory=folder.path, **given)
    with pytest.raises(LocalStackError) as refusal:
        up(options, Console(file=io.StringIO()))
    return str(refusal.value)


def test_an_option_that_only_a_start_can_set_is_refused(running: Running) -> None:
    folder = running()
    assert "was made with ROWS=200; `make reset` deletes it, then `make up ROWS=1000`" in refused(folder, rows=1000)
    assert "was started with no PACE; `make down` first" in refused(folder, real_pace=True)
    assert "was started with PORT=8123; `make down` first" in refused(folder, port=8080)
    slow = running(rate=DOCUMENTED_PACE)
    assert "was started with PACE=real; `make down` first" in refused(slow, real_pace=False)


def test_options_that_fit_and_none_at_all_are_accepted(running: Running) -> None:
    folder = running(rate=DOCUMENTED_PACE)
    for options in (Options(), Options(rows=200, port=8123, real_pace=True)):
        check_usable(StackClient(folder.path), options, "run")


def test_a_stack_that_stops_with_make_run_is_not_offered(running: Running) -> None:
    said = refused(running("make run"))
    assert f"is in use by `make run` (process {os.getpid()}), and stops with it" in said


def test_packages_that_changed_under_a_running_stack_are_noticed(running: Running) -> None:
    folder = running()
    assert outdated(StackClient(folder.path)) == ""
    stamp = Path(sys.prefix) / "cd2-setup.txt"
    stamp.unlink()
    assert "have changed" in outdated(StackClient(folder.path)), "a set-up is going on"
    stamp.write_text("other packages")
    os.utime(stamp, (1, 1))
    assert "have changed since the running stack was started" in refused(folder)
    assert "`make down`, then start it again" in refused(folder)
    running()
    assert outdated(StackClient(folder.path)) == "", "it was started anew"


class Answers:
    """A running stack on which a run has begun, and its Airflow."""

    ui = "http://127.0.0.1:8123"
    replica_dsn = "unused"

    def __init__(self, folder: Folder, refusal: str = "") -> None:
        self.folder, self.refusal = folder, refusal
        self.ended: list[str] = []
        self.changed: list[str] = []
        self.api = self.simulator = self

    def tables(self) -> dict[str, dict[str, int]]:
        return {"canvas.users": {}}

    def tables_with_a_job(self) -> set[str]:
        return {"canvas.users", "catalog.users"}

    def advance(self, fraction: float, tables: list[str]) -> dict[str, dict[str, int]]:
        self.changed += tables
        return {name: {"inserts": 3, "updates": 2, "deletes": 1} for name in tables}

    def notifications(self) -> list[object]:
        return []

    def unfinished_runs(self) -> list[str]:
        return []

    def trigger(self, conf: object) -> str:
        return "manual__1"

    def fail_run(self, run_id: str) -> None:
        if self.refusal:
            raise LocalStackError(self.refusal)
        self.ended.append(run_id)


def interrupted(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `make run` prints on this stack if Ctrl-C arrives while the run goes on."""

    def watch(*_: object) -> None:
        raise Stopped(signal.SIGINT)

    monkeypatch.setattr(run, "StackClient", lambda _: answers)
    monkeypatch.setattr(run, "_replica_has_data", lambda _: False)
    monkeypatch.setattr(run, "watch", watch)
    written = io.StringIO()
    with pytest.raises(Stopped):
        run.run(Options(), Console(file=written, width=80))
    return written.getvalue()


def test_ctrl_c_ends_the_run_on_a_stack_that_stays(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(running())
    said = interrupted(answers, monkeypatch)
    assert answers.ended == ["manual__1"]
    assert "Stopping the run manual__1 ..." in said
    assert "The local stack still runs: http://127.0.0.1:8123, `make down` stops it." in said


def test_a_run_that_cannot_be_ended_is_said_to_go_on(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    said = interrupted(Answers(running(), "Airflow does not answer."), monkeypatch)
    assert "It could not be stopped, and still runs: Airflow does not answer. Watch it at" in said.replace("\n", "")


def test_a_table_that_a_stopped_run_asked_for_stays_as_dap_has_it(running: Running) -> None:
    answers = Answers(running())
    stack = cast("StackClient", answers)
    written = io.StringIO()
    console = Console(file=written, width=80)
    run._let_time_pass(stack, ["canvas.courses", "canvas.users"], console)
    assert answers.changed == ["canvas.courses"]
    assert "No time passes for 1 table: a stopped run has already asked DAP for the changes." in written.getvalue()
    assert "Time passed at the simulator, in 1 of 1 table:" in written.getvalue()
    run._let_time_pass(stack, ["canvas.users"], console)
    assert answers.changed == ["canvas.courses"]


def test_a_stack_of_our_own_says_that_it_stops_before_it_does(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack")
    said: list[int] = []
    stack.on_stop = lambda: said.append(len(running_programs(stack.folder.path)))
    stack.supervisor.acquire()
    stack.supervisor.start([component(stack.supervisor, "simple", SIMPLE)])
    stack.stop()
    stack.stop()
    assert said == [1], "once, while it still runs"
    assert not running_programs(stack.folder.path)


def test_after_a_run_on_a_stack_of_its_own_no_address_is_offered(running: Running) -> None:
    written = io.StringIO()
    print_kept(Console(file=written, width=80), StackClient(running().path))
    assert "make up" in written.getvalue()
    assert "make psql" in written.getvalue()
    assert "127.0.0.1" not in written.getvalue()
    assert "http" not in written.getvalue()
