"""A program that runs under a guard, as its owner sees it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from local.errors import LocalStackError
from local.processes import families

GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True)
class Component:
    """A program to be run.

    :param ready: returns whether it is ready; called several times a second.
    :param start_timeout: seconds until it must be ready.
    :param grace: seconds it gets to end by itself after ``stop_signal``.
    :param user: number of the user and group to run as; None: ours.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    start_timeout: float = 90.0
    grace: float = 5.0
    stop_signal: signal.Signals = signal.SIGTERM
    directory: Path | None = None
    user: int | None = None


class Program:
    """A component that was started.

    :param folder: the folder it runs for.
    :param output: takes what it prints.
    :raises LocalStackError: it cannot be started.
    """

    def __init__(self, component: Component, folder: Path, output: IO[bytes]) -> None:
        self.component = component
        reading, writing = os.pipe()
        user = "" if component.user is None else str(component.user)
        guarding = [str(writing), str(folder), user, str(int(component.stop_signal))]
        with os.fdopen(reading) as report:
            try:
                self._guard = subprocess.Popen(
                    [sys.executable, "-I", str(GUARD), *guarding, *component.argv],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=component.environment | {families.GUARD_MARKER: str(folder)},
                    cwd=component.directory,
                    pass_fds=(writing,),
                    start_new_session=True,
                )
            except OSError as error:
                raise LocalStackError(f"{component.name} cannot be started: {error}.") from error
            finally:
                os.close(writing)
            answer = report.read()
        started: dict[str, Any] = json.loads(answer) if answer else {"error": "its guard was killed"}
        if "error" in started:
            self._leave()
            raise LocalStackError(f"{component.name} cannot be started: {started['error']}.")
        self.pid: int = started["pid"]
        try:
            self.created = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            self.created = time.time()

    def status(self) -> int | None:
        """None while it runs; then its exit status, or the negative number of the signal that ended it."""
        return self._guard.poll()

    def family(self) -> set[psutil.Process]:
        """The program and everything it started."""
        return families.family(self.pid, self.created)

    def tell_to_stop(self) -> None:
        """Send it its stop signal."""
        if process := families.same_process(self.pid, self.created):
            families.send([process], self.component.stop_signal)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; returns whether it has ended."""
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._leave()
        return True

    def end(self, grace: float) -> None:
        """End it and everything it started: SIGTERM, then SIGKILL after ``grace`` seconds."""
        families.end(self.family(), grace)
        self._leave()

    def kill(self) -> None:
        """Kill it and everything it started, as a crash would."""
        families.send(self.family(), signal.SIGKILL)
        self._leave()

    def _leave(self) -> None:
        """Wait for the end of the guard, which follows its program's."""
        self._guard.wait()
        if self._guard.stdin is not None:
            # not earlier: to the guard it means that we are gone
            self._guard.stdin.close()
