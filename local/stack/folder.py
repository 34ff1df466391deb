"""The folder of a stack: its paths, and what is kept from one start to the next."""

import contextlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from local.errors import LocalStackError
from local.processes import families
from local.processes.ports import free_port, is_free

SERVICES = ("airflow", "simulator", "aws", "postgres")
CONTENTS = ("airflow", "logs", "postgres", "simulator", "config.json", "state.json", "processes.json", "lock", "pgpass")


class Folder:
    """Paths, generated secrets and remembered ports of the stack in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.path = Path(directory).resolve()
        self.logs = self.path / "logs"
        self.airflow = self.path / "airflow"
        self.postgres = self.path / "postgres"
        self.simulator = self.path / "simulator"
        self.pgpass = self.path / "pgpass"
        self._config_file = self.path / "config.json"
        self._state_file = self.path / "state.json"
        self._packages = _packages()

    # -- remembered ------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether a stack was ever started here."""
        return self._config_file.exists()

    def config(self) -> dict[str, Any]:
        """What is kept; empty before the first start."""
        try:
            return dict(json.loads(self._config_file.read_text()))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise LocalStackError(f"{self._config_file} is damaged; `make reset` starts over.") from None

    def remember(self, **values: Any) -> None:
        """Keep values for the next start."""
        _write(self._config_file, self.config() | values)

    def secret(self, name: str) -> str:
        """A password or key, generated when first asked for."""
        known: dict[str, str] = self.config().get("secrets", {})
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            self.remember(secrets=known)
        return known[name]

    def port(self, service: str) -> int:
        """The port chosen for a service by the last start."""
        return int(self.config()["ports"][service])

    def choose_ports(self, ui_port: int | None) -> None:
        """Choose a port for each service: last time's if it is still free, so that bookmarks keep working.

        :param ui_port: for Airflow; None: any.
        :raises LocalStackError: that one is in use.
        """
        if ui_port is not None and not is_free(ui_port):
            raise LocalStackError(f"Port {ui_port} is in use by another program; choose another with PORT=, or none.")
        ports: dict[str, int] = dict(self.config().get("ports", {}))
        if ui_port is not None:
            ports["airflow"] = ui_port
        for service in SERVICES:
            others = {port for name, port in ports.items() if name != service}
            if service not in ports or ports[service] in others or not is_free(ports[service]):
                ports[service] = free_port(others)
        self.remember(ports=ports)

    # -- who runs it -----------------------------------------------------------------------------

    def announce(self, status: str, message: str = "", purpose: str = "") -> None:
        """Publish the status of the stack that this process runs: starting, running, stopping, failed.

        :param purpose: the command that the stack serves.
        """
        pid = os.getpid()
        state = {"status": status, "message": message, "purpose": purpose, "pid": pid, "created": _created(pid)}
        _write(self._state_file, state | {"packages": self._packages})

    def state(self) -> dict[str, Any]:
        """The last status that was announced; ``stopped`` if the process that did is gone."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            state: dict[str, Any] = json.loads(self._state_file.read_text())
            if state["status"] == "failed" or families.same_process(state["pid"], state["created"]):
                return state
        return {"status": "stopped", "message": "", "pid": None}

    @property
    def packages_changed(self) -> bool:
        """Whether the packages in `.venv` have been changed since the stack that runs was started."""
        return bool(self.state().get("packages", _packages()) != _packages())

    def forget_state(self) -> None:
        """Withdraw the announcement."""
        self._state_file.unlink(missing_ok=True)


def _packages() -> int:
    """A number that changes with each set-up of `.venv`; 0 while one is going on, and where there was none."""
    try:
        return (Path(sys.prefix) / "cd2-setup.txt").stat().st_mtime_ns
    except OSError:
        return 0


def _created(pid: int) -> float:
    import psutil

    return psutil.Process(pid).create_time()


def _write(path: Path, value: dict[str, Any]) -> None:
    """Write a file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file, indent=1)
    new.replace(path)
