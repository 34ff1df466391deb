"""Small programs in place of the real ones of a stack, and an owner of them in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from local.processes import families
from local.processes.program import Component
from local.processes.supervisor import Supervisor
from local.settings import REPOSITORY

# A program with a child and a grandchild, as Airflow's scheduler has: says when all of them live.
FAMILY = """
import subprocess, sys, time
grandchild = "import time; print('ready', flush=True); time.sleep(600)"
child = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
SIMPLE = "import time; print('ready', flush=True); time.sleep(600)"
SILENT = "import time; time.sleep(600)"
OWNER = """
import sys, time
from pathlib import Path
from local.processes.supervisor import Supervisor
from tests.stack.programs import FAMILY, SIMPLE, component
supervisor = Supervisor(Path(sys.argv[1]), "a test")
supervisor.acquire()
supervisor.start([component(supervisor, "family", FAMILY), component(supervisor, "simple", SIMPLE)])
print("started", flush=True)
time.sleep(600)
"""


def component(supervisor: Supervisor, name: str, code: str, **options: Any) -> Component:
    """A Python program that is ready when it has said so."""
    log = supervisor.log(name)
    return Component(
        name, [sys.executable, "-c", code], lambda: "ready" in log.read_text(), dict(os.environ), **options
    )


def start_owner(folder: Path) -> subprocess.Popen[str]:
    """A process that owns the folder and runs four processes in it; leads a process group, as a shell's job does."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        process_group=0,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def running(folder: Path) -> set[psutil.Process]:
    """All living processes of a stack in a folder, guards excepted."""
    return families.marked(str(folder))


def guards(folder: Path) -> set[psutil.Process]:
    """The living guards of a stack in a folder."""
    return families.marked(str(folder), families.GUARD_MARKER)


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether the condition comes true within a generous time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
