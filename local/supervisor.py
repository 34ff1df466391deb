"""Starts the programs of a stack, watches them, and ends them with everything they started."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local import processes
from local.errors import LocalStackError

TAIL_LINES = 12


@dataclass(frozen=True)
class Component:
    """One long-running program.

    :param ready: tells whether it does its work yet; asked several times a second.
    :param start_timeout: seconds until it must be ready.
    :param grace: seconds it gets to end by itself after SIGTERM.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    start_timeout: float = 90.0
    grace: float = 5.0


class Supervisor:
    """Owner of one folder: holds its lock, its log files and the record of its processes.

    :param directory: the folder; made if missing.
    :param purpose: what holds the lock, for the sentence a second starter gets.
    """

    def __init__(self, directory: Path, purpose: str = "a local stack") -> None:
        self.directory = Path(directory).resolve()
        self.logs = self.directory / "logs"
        self._purpose = purpose
        self._record = self.directory / "processes.json"
        self._lock: int | None = None
        self._running: dict[str, tuple[Component, subprocess.Popen, float]] = {}

    # -- ownership -------------------------------------------------------------------------------

    def acquire(self) -> int:
        """Become the owner of the folder and end what a killed owner left running; returns how many processes.

        :raises LocalStackError: somebody else owns it; says who.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            holder = path.read_text().strip() or "another process"
            raise LocalStackError(
                f"{self.directory} is in use by {holder}; wait for it, or stop it (`make down`)."
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{self._purpose} (process {os.getpid()})".encode())
        self._lock = lock
        self.logs.mkdir(exist_ok=True)
        return self.end_leftovers()

    @property
    def owner(self) -> bool:
        """Whether the folder is ours now."""
        return self._lock is not None

    def release(self) -> None:
        """Give the folder up."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def leftovers(self) -> set[psutil.Process]:
        """What runs on behalf of this folder, by its record and by the mark in the environment."""
        found = processes.marked(str(self.directory))
        with contextlib.suppress(FileNotFoundError, ValueError):
            for entry in json.loads(self._record.read_text()):
                found |= processes.family(entry["pid"], entry["created"])
        return found

    def end_leftovers(self) -> int:
        """End processes of an owner that was killed; returns how many there were."""
        leftovers = self.leftovers()
        processes.end(leftovers)
        self._record.unlink(missing_ok=True)
        return len(leftovers)

    # -- life ------------------------------------------------------------------------------------

    def log(self, name: str) -> Path:
        """Where the output of a component goes."""
        return self.logs / f"{name}.log"

    def spawn(self, component: Component) -> None:
        """Start a program in a session of its own; its log file starts empty."""
        environment = component.environment | {processes.MARKER: str(self.directory)}
        try:
            with self.log(component.name).open("wb") as output:
                started = subprocess.Popen(
                    component.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise LocalStackError(f"{component.name} cannot be started: {error}.") from error
        try:
            created = psutil.Process(started.pid).create_time()
        except psutil.NoSuchProcess:
            created = time.time()
        self._running[component.name] = (component, started, created)
        self._write_record()

    def start(self, components: Sequence[Component]) -> None:
        """Start programs side by side and wait until all are ready.

        :raises LocalStackError: one ended or does not become ready; names it, with the last lines of its log.
        """
        for component in components:
            self.spawn(component)
        waiting = {component.name: component for component in components}
        began = time.monotonic()
        while waiting:
            self.check()
            for name, component in list(waiting.items()):
                if component.ready():
                    del waiting[name]
                elif time.monotonic() - began > component.start_timeout:
                    raise LocalStackError(
                        f"{name} did not become ready within {component.start_timeout:.0f} s. {self._tail(name)}"
                    )
            if waiting:
                time.sleep(0.1)

    def run_once(self, component: Component) -> None:
        """Run a program that does one thing and ends, while the others are watched.

        :raises LocalStackError: it fails, or takes longer than ``start_timeout``; with the last lines of its log.
        """
        self.spawn(component)
        _, process, _ = self._running[component.name]
        deadline = time.monotonic() + component.start_timeout
        while (status := process.poll()) is None:
            self.check()
            if time.monotonic() > deadline:
                seconds = component.start_timeout
                raise LocalStackError(
                    f"{component.name} takes longer than {seconds:.0f} s. {self._tail(component.name)}"
                )
            time.sleep(0.05)
        del self._running[component.name]
        self._write_record()
        if status:
            raise LocalStackError(f"{component.name} ended with status {status}. {self._tail(component.name)}")

    def check(self) -> None:
        """See that every program lives.

        :raises LocalStackError: one has ended; names it, with the last lines of its log.
        """
        for name, (_, process, _) in self._running.items():
            if (status := process.poll()) is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                raise LocalStackError(f"{name} {how}. {self._tail(name)}")

    def pid(self, name: str) -> int:
        """The process id of a running component."""
        return self._running[name][1].pid

    def names(self) -> list[str]:
        """The running components, in order of their start."""
        return list(self._running)

    def stop(self, names: Sequence[str] | None = None) -> None:
        """End programs (all, unless named) and everything they started. They are told at the same time."""
        chosen = [name for name in self._running if names is None or name in names]
        families = {}
        for name in chosen:
            _, process, created = self._running[name]
            families[name] = processes.family(process.pid, created)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        for name in chosen:
            component, process, created = self._running[name]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, component.grace - (time.monotonic() - began)))
            processes.end(families[name] | processes.family(process.pid, created), grace=1.0)
            process.wait()
            del self._running[name]
        self._write_record()

    def kill(self, name: str) -> None:
        """Kill a component and all it started with SIGKILL, as a crash would; for experiments."""
        _, process, created = self._running.pop(name)
        processes.send(processes.family(process.pid, created), signal.SIGKILL)
        process.wait()
        self._write_record()

    # -- inside ----------------------------------------------------------------------------------

    def _write_record(self) -> None:
        entries = [
            {"name": name, "pid": process.pid, "created": created}
            for name, (_, process, created) in self._running.items()
        ]
        new = self._record.with_suffix(".new")
        new.write_text(json.dumps(entries))
        new.replace(self._record)

    def _tail(self, name: str) -> str:
        path = self.log(name)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        shown = "\n  ".join(line for line in lines[-TAIL_LINES:] if line.strip())
        return f"The end of {path}:\n  {shown}" if shown else f"Its log is empty ({path})."
