"""The parts of Airflow's environment that do not depend on the stack."""

import json
import os
import sys
from pathlib import Path

from local.settings import REPOSITORY

FILE = REPOSITORY / "local" / "airflow.env"
DROPPED_PREFIXES = ("AIRFLOW", "AWS_", "PG", "PYTHONDONTWRITEBYTECODE")
LOCALHOST = "127.0.0.1,localhost"


def base() -> dict[str, str]:
    """Our environment without variables that would mislead a component: AWS_PROFILE, AIRFLOW_HOME, ...

    Bytecode is cached whatever our own environment says, beside the packages: without it each of hundreds of processes
    compiles what it imports, which took half of a run's processor time.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED_PREFIXES)}
    cache = {} if sys.pycache_prefix else {"PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "pycache")}
    return (
        kept
        | cache
        | {
            "NO_PROXY": LOCALHOST,
            "no_proxy": LOCALHOST,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(REPOSITORY),
        }
    )


def everywhere() -> dict[str, str]:
    """The settings that `make run` and docker-compose.yaml share: the lines of airflow.env."""
    lines = (line.strip() for line in FILE.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def write_log_in(path: Path, password: str) -> None:
    """Write the password file of Airflow's simple auth manager: user admin, our password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"admin": password}, file)
