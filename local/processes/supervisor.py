"""Starts the programs of a folder, watches them, and ends them with everything they started."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from local.errors import LocalStackError
from local.processes import families
from local.processes.program import Component, Program
from local.processes.record import Record

TAIL_LINES = 12
GUARDS_TIMEOUT = 10.0
"""Seconds that the guards of a killed owner get to end what it left."""


class ComponentEnded(LocalStackError):
    """A component ended although nobody told it to.

    :param status: its exit status, or the negative number of the signal that ended it.
    """

    def __init__(self, name: str, status: int, tail: str) -> None:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        super().__init__(f"{name} {how}. {tail}")
        self.name, self.status = name, status


class Supervisor:
    """Owner of one folder: holds its lock, its log files and the record of its processes.

    :param directory: the folder; made if missing.
    :param purpose: what holds the lock, for the sentence a second starter gets.
    """

    def __init__(self, directory: Path, purpose: str = "a local stack") -> None:
        self.directory = Path(directory).resolve()
        self.logs = self.directory / "logs"
        self._purpose = purpose
        self._record = Record(self.directory)
        # one thread may take the lock and another release it
        self._lock = FileLock(self.directory / "lock", blocking=False, thread_local=False)
        self._running: dict[str, Program] = {}
        self._run_once: set[str] = set()
        self._changing = threading.Lock()

    # -- ownership -------------------------------------------------------------------------------

    def acquire(self) -> int:
        """Become the owner of the folder and end what an earlier owner left; returns how many processes that was.

        :raises LocalStackError: somebody else owns it; says who.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = Path(self._lock.lock_file)
        try:
            self._lock.acquire()
        except Timeout:
            holder = path.read_text().strip() or "another process"
            raise LocalStackError(
                f"{self.directory} is in use by {holder}; wait for it, or stop it (`make down`)."
            ) from None
        path.write_text(f"{self._purpose} (process {os.getpid()})")
        self.logs.mkdir(exist_ok=True)
        return self.end_leftovers()

    @property
    def owner(self) -> bool:
        """Whether the folder is ours now."""
        return self._lock.is_locked

    def release(self) -> None:
        """Release the folder."""
        if self._lock.is_locked:
            Path(self._lock.lock_file).write_text("")
            self._lock.release()

    def leftovers(self) -> set[psutil.Process]:
        """Everything that runs for the folder, guards excepted."""
        return self._record.running()

    def end_leftovers(self) -> int:
        """End what a killed owner left, if its guards have not done so; returns how many processes that was."""
        guards = families.marked(str(self.directory), families.GUARD_MARKER)
        left = self.leftovers()
        families.end(families.wait_gone(guards, GUARDS_TIMEOUT))
        families.end(self.leftovers())
        self._record.remove()
        return len(left)

    # -- life ------------------------------------------------------------------------------------

    def log(self, name: str) -> Path:
        """Where the output of a component goes."""
        return self.logs / f"{name}.log"

    def spawn(self, component: Component) -> None:
        """Start a program in a session of its own; its log file starts empty.

        :raises LocalStackError: it cannot be started.
        """
        with self.log(component.name).open("wb") as output:
            program = Program(component, self.directory, output)
        with self._changing:
            self._running[component.name] = program
            self._write_record()

    def start(self, components: Sequence[Component]) -> None:
        """Start programs side by side and wait until all are ready.

        :raises ComponentEnded: one ended; with the last lines of its log.
        :raises LocalStackError: one does not become ready; the same.
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
                time.sleep(0.05)

    def run_once(self, component: Component) -> None:
        """Run a program that does one thing and ends, while the others are watched, or started by another thread.

        :raises ComponentEnded: it fails; with the last lines of its log.
        :raises LocalStackError: it takes longer than ``start_timeout``; the same.
        """
        self._run_once.add(component.name)
        self.spawn(component)
        program = self._running[component.name]
        deadline = time.monotonic() + component.start_timeout
        while (status := program.status()) is None:
            self.check()
            if time.monotonic() > deadline:
                seconds = component.start_timeout
                raise LocalStackError(
                    f"{component.name} takes longer than {seconds:.0f} s. {self._tail(component.name)}"
                )
            time.sleep(0.05)
        self._forget(component.name)
        if status:
            raise ComponentEnded(component.name, status, self._tail(component.name))

    def check(self) -> None:
        """Check that every program still runs, unless it is to end by itself.

        :raises ComponentEnded: one has ended; with the last lines of its log.
        """
        self._check(name for name in self.names() if name not in self._run_once)

    def running(self, name: str) -> bool:
        """Whether a component was started and lives."""
        return name in self._running and self._running[name].status() is None

    def pid(self, name: str) -> int:
        """The process id of a component that was started."""
        return self._running[name].pid

    def names(self) -> list[str]:
        """The components that were started, in order of their start."""
        return list(self._running)

    def stop(self, names: Sequence[str] | None = None) -> None:
        """Stop programs (all, unless named) and everything they started; all are told at the same time."""
        chosen = [name for name in self._running if names is None or name in names]
        before = {name: self._running[name].family() for name in chosen}
        for name in chosen:
            self._running[name].tell_to_stop()
        began = time.monotonic()
        for name in chosen:
            program = self._running[name]
            program.wait(max(0.1, program.component.grace - (time.monotonic() - began)))
            families.end(before[name], grace=1.0)
            program.end(grace=1.0)
            self._forget(name)

    def kill(self, name: str) -> None:
        """Kill a component and everything it started with SIGKILL; for experiments."""
        self._running[name].kill()
        self._forget(name)

    # -- inside ----------------------------------------------------------------------------------

    def _forget(self, name: str) -> None:
        with self._changing:
            del self._running[name]
            self._write_record()

    def _write_record(self) -> None:
        self._record.write((name, program.pid, program.created) for name, program in self._running.items())

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if (status := self._running[name].status()) is not None:
                raise ComponentEnded(name, status, self._tail(name))

    def _tail(self, name: str) -> str:
        path = self.log(name)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        shown = "\n  ".join(line for line in lines[-TAIL_LINES:] if line.strip())
        return f"The end of {path}:\n  {shown}" if shown else f"Its log is empty ({path})."
