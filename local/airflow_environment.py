"""The environment of the Airflow components: all of Airflow's configuration, with no airflow.cfg to edit."""

import json
import os
from pathlib import Path

from local.folder import Folder
from local.settings import REPOSITORY

FILE = Path(__file__).with_name("airflow.env")
KEPT_PREFIXES = ("AIRFLOW__CD2__", "AIRFLOW_CONN_CD2_")
DROPPED_PREFIXES = ("AIRFLOW", "AWS_", "PG")
LOCALHOST = "127.0.0.1,localhost"
TASKS_AT_ONCE = max(4, 4 * (os.cpu_count() or 2))


def base() -> dict[str, str]:
    """Our own environment without what would lead a component elsewhere: AWS_PROFILE, AIRFLOW_HOME, ..."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED_PREFIXES)}
    return kept | {
        "NO_PROXY": LOCALHOST,
        "no_proxy": LOCALHOST,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(REPOSITORY),
    }


def everywhere() -> dict[str, str]:
    """What is the same for `make run` and in the containers of docker-compose.yaml: the lines of airflow.env."""
    lines = (line.strip() for line in FILE.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def of_airflow(
    folder: Folder, database: str, job_creations_per_minute: int, dags: Path, plugins: Path
) -> dict[str, str]:
    """The environment of every Airflow component.

    :param database: DSN of the metadata database.
    """
    ui = f"http://127.0.0.1:{folder.port('airflow')}"
    options = {
        "CORE__DAGS_FOLDER": dags,
        "CORE__PLUGINS_FOLDER": plugins,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": TASKS_AT_ONCE,
        "CORE__EXECUTION_API_SERVER_URL": f"{ui}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": folder.airflow / "passwords.json",
        "DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql://", "postgresql+psycopg2://"),
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
        base()
        | everywhere()
        | {"AIRFLOW_HOME": str(folder.airflow), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{folder.port('aws')}"}
        | {f"AIRFLOW__{name}": str(value) for name, value in options.items()}
        # what a person sets wins, to try wrong settings and credentials
        | chosen
    )


def write_log_in(path: Path, password: str) -> None:
    """Airflow's own file of the simple log-in: user admin, our password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"admin": password}, file)
