"""`python -m local.docker.prepare`: make what Airflow expects to find when the containers start.

The databases with their roles, the AWS resources of a deployment, and the log-in of the user interface. It runs at
every `docker compose up`, so that an interrupted start does no harm, nor an AWS server that has forgotten everything.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from local import databases
from local.airflow.environment import write_log_in
from local.aws import Aws
from local.errors import LocalStackError
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET


def dap_key(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Client id and secret of the real DAP; None: the simulator is wanted.

    :raises LocalStackError: only one of them is set.
    """
    names = ("DAP_CLIENT_ID", "DAP_CLIENT_SECRET")
    client_id, client_secret = (environment.get(f"CD2_LOCAL_{name}", "").strip() for name in names)
    if bool(client_id) != bool(client_secret):
        there, missing = names if client_id else reversed(names)
        raise LocalStackError(
            f"{there} is set without {missing}: set both (in .env) for the real DAP, or none for the simulator. "
            "What the shell sets wins over .env."
        )
    return (client_id, client_secret) if client_id else None


def prepare(environment: Mapping[str, str]) -> str:
    """Make what is missing; returns a sentence that says which DAP Airflow uses.

    :param environment: of the service `prepare` in docker-compose.yaml.
    :raises LocalStackError: something in it is wrong; says what to do.
    """
    key = dap_key(environment)
    tasks = environment["AIRFLOW__CORE__PARALLELISM"]
    if not tasks.isdecimal() or int(tasks) < 1:
        raise LocalStackError(f"TASKS_AT_ONCE={tasks} is wrong: it must be a whole number of 1 or more.")
    superuser = urlsplit(environment["CD2_LOCAL_SUPERUSER"])
    host, port = str(superuser.hostname), superuser.port or 5432
    password = environment["CD2_LOCAL_PASSWORD"]
    databases.prepare(databases.PostgresServer(host, port, superuser.password or ""), password, password)
    Aws(environment["AWS_ENDPOINT_URL"]).seed(
        *(key or (DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)),
        {
            "host": host,
            "port": port,
            "dbname": databases.REPLICA,
            "username": databases.REPLICA,
            "password": password,
        },
    )
    passwords = Path(environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    write_log_in(passwords, environment["CD2_LOCAL_ADMIN"])
    address = environment["AIRFLOW__CD2__DAP_BASE_URL"]
    return f"Airflow asks the {'real DAP' if key else 'DAP simulator'} at {address}."


def main() -> int:
    """Returns the exit status; 1 and a sentence when something is wrong."""
    try:
        print(f"prepare: {prepare(os.environ)}")
    except LocalStackError as error:
        print(f"prepare: {error}", file=sys.stderr)
    except psycopg.Error as error:
        print(f"prepare: PostgreSQL refuses: {str(error).splitlines()[0]}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"prepare: the local AWS refuses: {error}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
