"""Stopping a stack from outside, whoever started it."""

import signal
from pathlib import Path

from local.processes import families
from local.processes.supervisor import Supervisor
from local.stack.folder import Folder


def end_stack(directory: Path) -> bool:
    """Stop the stack in ``directory``, whoever started it, and what a killed one left; returns whether any ran."""
    folder = Folder(directory)
    state = folder.state()
    owner = families.same_process(state["pid"], state["created"]) if state.get("pid") else None
    if owner is not None:
        families.send([owner], signal.SIGTERM)
        if families.wait_gone([owner], 60.0):
            families.send([owner], signal.SIGKILL)
            families.wait_gone([owner], 5.0)
    if not folder.path.is_dir():
        return False
    supervisor = Supervisor(folder.path, "make down")
    leftovers = supervisor.acquire()
    try:
        folder.forget_state()
    finally:
        supervisor.release()
    return bool(owner or leftovers)
