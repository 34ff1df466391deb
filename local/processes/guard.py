"""Runs one program, and ends it when its owner is gone: `guard.py REPORT FOLDER USER SIGNAL PROGRAM [ARGUMENT ...]`.

Every program of a stack has a guard of its own between itself and its owner. The guard's standard input is a pipe whose
other end only the owner has. However the owner ends, SIGKILL included, the kernel closes that end, and the guard ends
everything that runs for the owner's folder. Every guard does so: it does not matter which of them were killed together
with the owner. If all of them are, Linux still sends each program its stop signal.

A guard ends when its program does, in the same way, after ending what the program left running. It is a script, not
`python -m local...`, in a session of its own, so that killing the owner by name or process group does not hit it.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def main(report: int, folder: str, user: str, stop_signal: int, argv: list[str]) -> int:
    """Run ``argv`` until it or the owner ends.

    :param report: descriptor that takes one JSON object: ``{"pid": ...}``, or ``{"error": ...}`` if it cannot start.
    :param user: number of the user and group to run as; empty: ours.
    :param stop_signal: what the kernel sends to the program when the guard is killed.
    :returns: the program's exit status. If a signal ended it, the same signal ends the guard.
    """
    child_ended = _wake_up_on_sigchld()
    with os.fdopen(report, "w") as answer:
        try:
            program = _start(argv, folder, user, stop_signal)
        except (OSError, subprocess.SubprocessError) as error:
            json.dump({"error": str(error)}, answer)
            return 1
        json.dump({"pid": program.pid}, answer)

    # late, so that the program does not wait for these imports
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import psutil

    from local.processes import families
    from local.processes.record import Record

    with contextlib.suppress(psutil.NoSuchProcess):
        created = psutil.Process(program.pid).create_time()
        while program.poll() is None:
            readable, _, _ = select.select([sys.stdin.fileno(), child_ended], [], [])
            if sys.stdin.fileno() in readable:
                families.end(families.family(program.pid, created) | Record(Path(folder)).running())
                return 0
            os.read(child_ended, 4096)
        families.end(families.family(program.pid, created))
    return program.wait()


def _start(argv: list[str], folder: str, user: str, stop_signal: int) -> subprocess.Popen[bytes]:
    from_outside = {name: value for name, value in os.environ.items() if name != "CD2_LOCAL_GUARD"}
    options: dict[str, Any] = {"user": int(user), "group": int(user), "extra_groups": []} if user else {}
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        env=from_outside | {"CD2_LOCAL_STACK": folder},
        start_new_session=True,
        preexec_fn=_stops_with(os.getpid(), stop_signal),
        **options,
    )


def _stops_with(guard: int, stop_signal: int) -> Callable[[], None] | None:
    """A hook that asks the kernel to send ``stop_signal`` to the new process when its guard is killed; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask_the_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != guard:  # it was killed before we could ask
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_the_kernel


def _wake_up_on_sigchld() -> int:
    """A descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _end_like(status: int) -> None:
    """Exit with a status, or die by the signal that a negative status stands for."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    _end_like(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]))
