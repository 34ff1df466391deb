"""The programs of a stack: how each is started, and when it counts as ready."""

import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from local.airflow import environment
from local.airflow.api import AirflowApi
from local.aws import Aws
from local.databases import METADATA
from local.errors import LocalStackError
from local.processes.program import Component
from local.settings import UNLIMITED
from local.simulator.control import SimulatorControl, SimulatorError
from local.stack.folder import Folder

AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
SECOND_TRIGGERER = "triggerer-2"
"""MWAA runs at least two."""
TASKS_AT_ONCE = max(4, 4 * (os.cpu_count() or 2))
KEPT_PREFIXES = ("AIRFLOW__CD2__", "AIRFLOW_CONN_CD2_")
LIMITED_CALLS = ("list", "schema", "object", "job")


def simulator(
    folder: Folder, control: SimulatorControl, job_creations_per_minute: int, job_seconds: float, more: Sequence[str]
) -> Component:
    """The DAP simulator.

    :param more: arguments that are added to its command line.
    """
    secrets = {
        "CD2_SIMULATOR_CLIENT_ID": folder.secret("dap_client_id"),
        "CD2_SIMULATOR_CLIENT_SECRET": folder.secret("dap_client_secret"),
    }
    argv = [sys.executable, "-m", "local.simulator", "--port", str(folder.port("simulator"))]
    argv += ["--state", str(folder.simulator), "--rows", str(folder.config()["rows"])]
    argv += ["--data-limit", str(job_creations_per_minute), "--job-seconds", str(job_seconds)]
    if job_creations_per_minute == UNLIMITED:
        # one minute may hold two runs, and tests list often
        for call in LIMITED_CALLS:
            argv += [f"--{call}-limit", str(UNLIMITED)]

    def ready() -> bool:
        try:
            return bool(control.health())
        except SimulatorError:
            return False

    return Component("simulator", [*argv, *more], ready, environment.base() | secrets)


def aws_services(folder: Folder, client: Aws) -> Component:
    """The AWS services: a moto server."""
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(folder.port("aws"))]
    return Component("aws", argv, client.ready, environment.base())


def airflow_environment(folder: Folder, job_creations_per_minute: int, dags: Path, plugins: Path) -> dict[str, str]:
    """The environment of every Airflow component: all of Airflow's configuration, with no airflow.cfg to edit."""
    ui = f"http://127.0.0.1:{folder.port('airflow')}"
    metadata = f"{METADATA}:{folder.secret('metadata')}@127.0.0.1:{folder.port('postgres')}/{METADATA}"
    options = {
        "CORE__DAGS_FOLDER": dags,
        "CORE__PLUGINS_FOLDER": plugins,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": TASKS_AT_ONCE,
        "CORE__EXECUTION_API_SERVER_URL": f"{ui}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": folder.airflow / "passwords.json",
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{metadata}",
        "API__HOST": "127.0.0.1",
        "API__PORT": folder.port("airflow"),
        "API__BASE_URL": ui,
        "API__SECRET_KEY": folder.secret("airflow_secret_key"),
        "API_AUTH__JWT_SECRET": folder.secret("airflow_jwt"),
        "LOGGING__BASE_LOG_FOLDER": folder.airflow / "logs",
        "CD2__DAP_BASE_URL": f"http://127.0.0.1:{folder.port('simulator')}",
        "CD2__JOB_CREATIONS_PER_MINUTE": job_creations_per_minute,
        "CD2__MAX_ACTIVE_TABLES": 2 * TASKS_AT_ONCE,
    }
    chosen = {name: value for name, value in os.environ.items() if name.startswith(KEPT_PREFIXES)}
    return (
        environment.base()
        | environment.everywhere()
        | {"AIRFLOW_HOME": str(folder.airflow), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{folder.port('aws')}"}
        | {f"AIRFLOW__{name}": str(value) for name, value in options.items()}
        # what a person sets wins, to try wrong settings and credentials
        | chosen
    )


def airflow(part: str, api: AirflowApi, variables: dict[str, str], began: Callable[[], datetime]) -> Component:
    """One of Airflow's components, ready when Airflow itself says so.

    :param part: one of `AIRFLOW_PARTS`, or `triggerer-2`.
    :param variables: its environment.
    :param began: tells when it was started; an earlier heartbeat was its predecessor's.
    """
    name, part = part, part.removesuffix("-2")
    argv = [sys.executable, "-m", "airflow", part]
    if part in ("scheduler", "triggerer"):
        # all parts share one disk: the API server reads the log files itself
        argv.append("--skip-serve-logs")

    def ready() -> bool:
        try:
            health = api.health()
        except LocalStackError:
            return False
        if part == "api-server":
            return True
        if name == SECOND_TRIGGERER:
            return api.beating_triggerers(began()) > 1
        status = health.get(part.replace("-", "_"), {})
        heartbeat = status.get(f"latest_{part.replace('-', '_')}_heartbeat")
        return bool(heartbeat and datetime.fromisoformat(heartbeat) >= began())

    return Component(name, argv, ready, variables, start_timeout=120.0)


def migration(variables: dict[str, str]) -> Component:
    """A one-off program that makes or upgrades Airflow's metadata database."""
    return Component("db-migrate", [sys.executable, "-m", "airflow", "db", "migrate"], lambda: True, variables)
