"""The stack that already runs: whether a command may use it, and whether what a person set fits it."""

from __future__ import annotations

from local.errors import LocalStackError
from local.settings import DOCUMENTED_PACE, Options
from local.stack.client import StackClient


def is_running(client: StackClient) -> bool:
    """Whether a stack runs that can be used."""
    return bool(client.folder.state()["status"] == "running")


def check_usable(client: StackClient, options: Options, command: str) -> None:
    """Check that a command can use the running stack.

    :param command: `run` or `up`.
    :raises LocalStackError: it belongs to another command and ends with it, its packages were replaced, or an option
        that only its start can set differs; says what to do.
    """
    state = client.folder.state()
    if state.get("purpose") == "make run":
        raise LocalStackError(
            f"The local stack is in use by `make run` (process {state['pid']}), and stops with it: "
            f"wait for it, or `make down`; then `make {command}` again."
        )
    if said := outdated(client):
        raise LocalStackError(said)
    config = client.folder.config()
    rate, port = config["job_creations_per_minute"], client.folder.port("airflow")
    if options.rows not in (None, config["rows"]):
        raise LocalStackError(
            f"The running stack was made with ROWS={config['rows']}; `make reset` deletes it, "
            f"then `make {command} ROWS={options.rows}` makes another."
        )
    if options.real_pace is not None and options.job_creations_per_minute != rate:
        pace = "PACE=real" if rate == DOCUMENTED_PACE else "no PACE"
        raise LocalStackError(f"The running stack was started with {pace}; `make down` first to change that.")
    if options.port not in (None, port):
        raise LocalStackError(f"The running stack was started with PORT={port}; `make down` first to change that.")


def outdated(client: StackClient) -> str:
    """A sentence if the packages of the running stack were replaced since it was started; otherwise nothing."""
    if not client.folder.packages_changed:
        return ""
    return (
        "The packages in .venv have changed since the running stack was started, and it has loaded the old ones: "
        "`make down`, then start it again."
    )
