"""`make up`, `down`, `status`, `reset`: a stack that runs in the background."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from rich.console import Console

from local.command import report
from local.command.running import check_usable, is_running, outdated
from local.errors import LocalStackError
from local.postgres import EmbeddedPostgres
from local.processes.supervisor import Supervisor
from local.settings import REPOSITORY, Options
from local.stack import Stack
from local.stack.client import StackClient
from local.stack.ending import end_stack
from local.stack.folder import CONTENTS, Folder

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def stop_on_signals() -> None:
    """Turn the first SIGINT, SIGTERM or SIGHUP into `Stopped`; later ones must not disturb the shutdown."""

    def handler(number: int, _frame: FrameType | None) -> NoReturn:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in STOP_SIGNALS:
        signal.signal(number, handler)


def serve(options: Options) -> int:
    """Run the stack until a signal arrives; this is the background process of `up`."""
    stack = Stack.from_options(options, "make up")
    started = threading.Event()
    threading.Thread(target=_stop_if_abandoned, args=(started,), daemon=True).start()
    try:
        with stack:
            started.set()
            while True:
                time.sleep(1.0)
                stack.check()
    except LocalStackError as error:
        # for `up`, which waits, and for `status`
        if stack.folder.path.is_dir():
            stack.folder.announce("failed", str(error))
        raise


def _stop_if_abandoned(started: threading.Event) -> None:
    """Stop if `up` ends, even by SIGKILL, before the stack is up: standard input is a pipe from it."""
    sys.stdin.read()
    if not started.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def up(options: Options, console: Console) -> int:
    """Start the stack in the background and wait until it can be used."""
    client = StackClient(options.directory)
    if is_running(client):
        check_usable(client, options, "up")
        console.print("The local stack is already running.")
        report.print_places(console, client, log_in=True)
        return 0
    client.folder.forget_state()
    client.folder.logs.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (client.folder.logs / "supervisor.log").open("wb") as output:
        background = subprocess.Popen(
            [sys.executable, "-m", "local", "serve"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=REPOSITORY,
        )
    text = f"Starting the local stack in {report.shown(client.folder.path)} ..."
    waiting = console.status(text) if console.is_terminal else contextlib.nullcontext()
    if not console.is_terminal:
        console.print(text, soft_wrap=True)
    try:
        with waiting:
            while client.folder.state()["status"] != "running":
                if background.poll() is not None:
                    raise LocalStackError(_last_words(client.folder))
                time.sleep(0.1)
    except Stopped:
        console.print("Stopping the local stack ...")
        background.terminate()
        background.wait()
        raise
    console.print(f"The local stack is up after {time.monotonic() - began:.0f} s; `make down` stops it.")
    report.print_places(console, client, log_in=True)
    console.print("Nothing is scheduled here: start a run with `make run`, or on Airflow's page Canvas Data.")
    return 0


def _last_words(folder: Folder) -> str:
    if message := folder.state()["message"]:
        return str(message)
    log = folder.logs / "supervisor.log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("Error: ") if lines else f"The local stack could not be started; see {log}."


def down(options: Options, console: Console) -> int:
    """Stop the stack, even if its supervisor was killed."""
    began = time.monotonic()
    if end_stack(options.directory):
        console.print(f"The local stack is stopped ({time.monotonic() - began:.0f} s).", highlight=False)
    else:
        console.print("No local stack is running.")
    return 0


def status(options: Options, console: Console) -> int:
    """What is running; exit status 0 if the stack can be used, 3 if it is not running."""
    client = StackClient(options.directory)
    state = client.folder.state()
    if state["status"] != "running":
        console.print(f"The local stack is {state['status']}. {state['message']}".strip(), soft_wrap=True)
        if Supervisor(client.folder.path).leftovers() and state["status"] == "stopped":
            console.print("Its supervisor was killed and its programs are ending; `make down` waits for that.")
        return 3
    console.print("The local stack is running.")
    if said := outdated(client):
        console.print(said, style="yellow", soft_wrap=True)
    for name, health in client.api.health().items():
        good = health["status"] == "healthy"
        console.print(f"  {name:<14} [{'green' if good else 'red'}]{health['status']}[/]")
    runs = client.api.unfinished_runs()
    console.print(f"  active runs    {', '.join(runs) or 'none'}", highlight=False)
    report.print_places(console, client, log_in=True)
    return 0


def reset(options: Options, console: Console) -> int:
    """Stop the stack and delete what it made, and nothing else."""
    end_stack(options.directory)
    folder = Folder(options.directory)
    if not folder.path.is_dir():
        console.print("There is nothing to delete.")
        return 0
    EmbeddedPostgres(folder.postgres).remove()
    for name in CONTENTS:
        path = folder.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(path.name for path in folder.path.iterdir())
    if left:
        console.print(f"Deleted; {report.shown(folder.path)} keeps what is not ours: {', '.join(left)}.")
    else:
        folder.path.rmdir()
        console.print(f"Deleted {report.shown(folder.path)}.", highlight=False)
    return 0
