"""Finding and ending processes with everything they started, and nobody else's."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

MARKER = "CD2_LOCAL_STACK"
"""Environment variable of every program that runs for a folder, and of what that starts; its value is the folder."""
GUARD_MARKER = "CD2_LOCAL_GUARD"
"""The same for the guards of these programs (guard.py)."""


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def same_process(pid: int, created: float) -> psutil.Process | None:
    """The process with this pid, if it is the one that started at ``created`` and not a later one."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) < 1.0 and is_alive(process):
            return process
    except psutil.NoSuchProcess:
        pass
    return None


def family(leader_pid: int, created: float) -> set[psutil.Process]:
    """A session leader, its descendants, and what remains of its session after its death."""
    leader = same_process(leader_pid, created)
    if leader is None and psutil.pid_exists(leader_pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(leader_pid).status() != psutil.STATUS_ZOMBIE:
                return set()  # the pid has been reused
    members = {leader} if leader else set()
    for process in psutil.process_iter():
        # the kernel does not reuse a pid while a session of that number has members
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) == leader_pid:
                members.add(process)
    for member in list(members):
        with contextlib.suppress(psutil.NoSuchProcess):
            members.update(member.children(recursive=True))
    return {member for member in members if is_alive(member)}


def marked(folder: str, marker: str = MARKER) -> set[psutil.Process]:
    """Processes whose environment says that they run for ``folder``; not ourselves.

    A program that sets its title in `ps` overwrites the mark: the record (record.py) knows those.
    """
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(marker) == folder and is_alive(process):
                found.add(process)
    return found


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that still lives."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.send_signal(number)


def wait_gone(processes: Iterable[psutil.Process], seconds: float) -> set[psutil.Process]:
    """Wait until all have ended; returns those that have not."""
    deadline = time.monotonic() + seconds
    alive = {process for process in processes if is_alive(process)}
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = {process for process in alive if is_alive(process)}
    return alive


def end(processes: set[psutil.Process], grace: float = 3.0) -> set[psutil.Process]:
    """SIGTERM, then SIGKILL after ``grace`` seconds; returns what survived (nothing, as a rule)."""
    send(processes, signal.SIGTERM)
    alive = wait_gone(processes, grace)
    send(alive, signal.SIGKILL)
    return wait_gone(alive, 5.0)
