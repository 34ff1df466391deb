"""The environment of the Airflow components: all of Airflow's configuration, with no airflow.cfg to edit."""

import json
import os
from pathlib import Path

from local import aws
from local.folder import Folder
from local.settings import REPOSITORY

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
        "CORE__LOAD_EXAMPLES": False,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": TASKS_AT_ONCE,
        "CORE__FERNET_KEY": "",
        "CORE__EXECUTION_API_SERVER_URL": f"{ui}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": folder.airflow / "passwords.json",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        # imports the DAP client once, in the parent of all task processes (plugins/cd2_plugin.py)
        "CORE__LAZY_LOAD_PLUGINS": False,
        "CORE__MP_START_METHOD": "fork",
        "DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql://", "postgresql+psycopg2://"),
        "API__HOST": "127.0.0.1",
        "API__PORT": folder.port("airflow"),
        "API__BASE_URL": ui,
        "API__WORKERS": 1,
        "API__SECRET_KEY": folder.secret("airflow_secret_key"),
        "API__INSTANCE_NAME": "Canvas Data 2 (local)",
        "API__MAXIMUM_PAGE_LIMIT": 1000,
        "API_AUTH__JWT_SECRET": folder.secret("airflow_jwt"),
        # runs are started by a person; the schedule is for AWS
        "SCHEDULER__USE_JOB_SCHEDULE": False,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.5,
        "SCHEDULER__MAX_TIS_PER_QUERY": 64,
        # a finished task keeps its slot until the next heartbeat
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        "WORKERS__MAX_FAILED_HEARTBEATS": 15,
        # a task forked at the same moment holds the socket of a finished one open, which keeps its slot for this long
        "WORKERS__SOCKET_CLEANUP_TIMEOUT": 3,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 60,
        "DAG_PROCESSOR__STALE_DAG_THRESHOLD": 120,
        "DAG_PROCESSOR__PRINT_STATS_INTERVAL": 300,
        "LOGGING__BASE_LOG_FOLDER": folder.airflow / "logs",
        "CD2__ENVIRONMENT": "dev",
        "CD2__NAMESPACES": "canvas,canvas_logs,catalog,new_quizzes",
        "CD2__DAP_BASE_URL": f"http://127.0.0.1:{folder.port('simulator')}",
        "CD2__DATABASE_SECRET": aws.DATABASE_SECRET,
        # the embedded PostgreSQL is built without TLS
        "CD2__DATABASE_SSLMODE": "disable",
        "CD2__SNS_TOPIC_ARN": aws.TOPIC,
        "CD2__JOB_CREATIONS_PER_MINUTE": job_creations_per_minute,
        "CD2__MAX_ACTIVE_TABLES": 2 * TASKS_AT_ONCE,
    }
    chosen = {name: value for name, value in os.environ.items() if name.startswith(KEPT_PREFIXES)}
    return (
        base()
        | {"AIRFLOW_HOME": str(folder.airflow)}
        | {f"AIRFLOW__{name}": str(value) for name, value in options.items()}
        | aws.environment(f"http://127.0.0.1:{folder.port('aws')}")
        # what a person sets wins, to try wrong settings and credentials
        | chosen
    )


def write_log_in(folder: Folder) -> None:
    """Airflow's own file of the simple log-in: user admin, our password."""
    folder.airflow.mkdir(parents=True, exist_ok=True)
    path = folder.airflow / "passwords.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"admin": folder.secret("airflow_admin")}, file)
