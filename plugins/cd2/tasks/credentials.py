"""The DAP key and the database login: from Airflow connections, otherwise from SSM and Secrets Manager."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from cd2.notification.sns import aws_reason
from cd2.replication.errors import RefusedCredentials, StopAll
from cd2.settings import SSL_MODES, Settings, SettingsError
from cd2.tasks import requirements_check

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.ssm import SsmHook
    from airflow.sdk import Connection

    from cd2.replication.dap.session import DapCredentials
    from cd2.replication.database.connection import DatabaseTarget
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)

T = TypeVar("T")
SECOND_LOOK_S = 10.0
"""Before refused credentials are looked up again: a rotation changes password and secret one after the other."""
LOOK_AGAIN = "They may just have changed: looking them up once more."
PLACEHOLDER = "not-set-yet"
"""The value of the DAP key's parameters when Terraform creates them: SSM rejects an empty value."""


def load_settings() -> Settings:
    """The settings of this process.

    :raises StopAll: settings are wrong; names each of them.
    """
    try:
        return Settings.load()
    except SettingsError as error:
        raise StopAll(str(error)) from None


def make_replicator(pooled: int = 0) -> Replicator:
    """The replicator for the current settings.

    :raises StopAll: a setting is wrong; credentials are missing, incomplete or unreadable (says where they belong); or
        the packages of requirements.txt are not installed.
    """
    settings = load_settings()
    requirements_check.check()
    from cd2.replication.replicator import Replicator

    # Each lookup would log two lines about where it found credentials and endpoint.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    limit = settings.job_creations_per_minute
    return Replicator(
        dap_credentials(settings),
        database_target(settings),
        limit,
        pooled=pooled,
        append_only=settings.append_only_tables,
        max_shrink=settings.max_shrink,
    )


def with_credentials(work: Callable[[Replicator], Coroutine[Any, Any, T]]) -> T:
    """Do something with a replicator; if it meets refused credentials, look them up and do it once more.

    They may have been changed while the work began, or a rotation may be half way through.

    :param work: may run twice.
    :raises Cd2Error: the failure of the work, or see `make_replicator`.
    """
    try:
        return asyncio.run(work(make_replicator()))
    except RefusedCredentials as refused:
        log.warning("%s %s", refused.message, LOOK_AGAIN)
    time.sleep(SECOND_LOOK_S)
    return asyncio.run(work(make_replicator()))


def dap_credentials(settings: Settings) -> DapCredentials:
    """The DAP key: connection `dap_conn_id` (login, password, host), otherwise the two SSM parameters.

    :raises StopAll: see `make_replicator`.
    """
    from cd2.replication.dap.session import DapCredentials

    connection = _connection(settings.dap_conn_id)
    if connection is None:
        return DapCredentials(settings.dap_base_url, *_dap_key(settings))
    if not connection.login or not connection.password:
        raise StopAll(
            f"The Airflow connection {settings.dap_conn_id} has no login (DAP client id) or no password "
            "(client secret): complete it, or delete it to use the SSM parameters."
        )
    return DapCredentials(_base_url(connection) or settings.dap_base_url, connection.login, connection.password)


def database_target(settings: Settings) -> DatabaseTarget:
    """The replica: connection `postgres_conn_id`, otherwise the secret `database_secret`.

    :raises StopAll: see `make_replicator`.
    """
    connection = _connection(settings.postgres_conn_id)
    if connection is not None:
        source = f"The Airflow connection {settings.postgres_conn_id}"
        extras = connection.extra_dejson
        values = {
            "host": connection.host,
            "port": connection.port or 5432,
            "dbname": connection.schema,
            "username": connection.login,
            "password": connection.password,
            "sslmode": extras.get("sslmode"),
            "sslrootcert": extras.get("sslrootcert"),
        }
    elif settings.database_secret:
        source = f"The secret {settings.database_secret}"
        values = _secret(settings)
    else:
        raise StopAll(
            f"No database is configured: create the Airflow connection {settings.postgres_conn_id}, or set "
            "[cd2] database_secret to the name or ARN of a Secrets Manager secret (JSON: host, port, dbname, "
            "username, password)."
        )
    return _target(source, values, settings)


def _target(source: str, values: dict[str, Any], settings: Settings) -> DatabaseTarget:
    from cd2.replication.database.connection import DatabaseTarget

    if missing := [key for key in ("host", "dbname", "username", "password") if not values.get(key)]:
        raise StopAll(f"{source} lacks {', '.join(missing)}: complete it.")
    port = str(values.get("port") or 5432)
    if not port.isdecimal():
        raise StopAll(f"{source} has the port {port!r}: it must be a number, usually 5432.")
    sslmode = values.get("sslmode") or settings.database_sslmode
    if sslmode not in SSL_MODES:
        raise StopAll(f"{source} has the sslmode {sslmode!r}: it must be one of {', '.join(SSL_MODES)}.")
    return DatabaseTarget(
        host=values["host"],
        port=int(port),
        dbname=values["dbname"],
        user=values["username"],
        password=values["password"],
        sslmode=sslmode,
        sslrootcert=values.get("sslrootcert") or settings.database_sslrootcert,
    )


def _connection(conn_id: str) -> Connection | None:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection: Connection = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    return connection


def _base_url(connection: Connection) -> str | None:
    if not connection.host:
        return None
    if "://" in connection.host:
        return connection.host.rstrip("/")
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{connection.host}{port}"


def _quick(hook: type[T]) -> type[T]:
    """A hook that does not look for the operator's name to put it into the user agent.

    Provider 9.34 reads the source of each function on the stack for that: a quarter of a task's processor time.
    """
    return type(hook.__name__, (hook,), {"_get_caller": lambda _self, _name="execute": "cd2"})


def _dap_key(settings: Settings) -> tuple[str, str]:
    """Client id and secret from SSM, with one client: creating it is most of the cost."""
    from airflow.providers.amazon.aws.hooks.ssm import SsmHook

    hook = _quick(SsmHook)(aws_conn_id=settings.aws_conn_id)
    return _ssm_parameter(hook, settings, "dap_client_id"), _ssm_parameter(hook, settings, "dap_client_secret")


def _ssm_parameter(hook: SsmHook, settings: Settings, name: str) -> str:
    path = settings.ssm_parameter(name)
    try:
        value: str = hook.get_parameter_value(path).strip()
    except Exception as error:
        reason = aws_reason(error)
    else:
        if value == PLACEHOLDER:
            reason = "it still holds the placeholder that Terraform created it with"
        elif value:
            return value
        else:
            reason = "it is empty"
    raise StopAll(
        f"The SSM parameter {path} cannot be used ({reason}): put the DAP key there as a SecureString, or create the "
        f"Airflow connection {settings.dap_conn_id}; check [cd2] environment and ssm_path, and the role's permissions."
    )


def _secret(settings: Settings) -> dict[str, Any]:
    from airflow.providers.amazon.aws.hooks.secrets_manager import SecretsManagerHook
    from airflow.sdk.log import mask_secret

    try:
        hook = _quick(SecretsManagerHook)(aws_conn_id=settings.aws_conn_id)
        secret: Any = hook.get_secret_as_dict(settings.database_secret)
    except ValueError:
        reason = "it is not JSON"
    except Exception as error:
        reason = aws_reason(error)
    else:
        if isinstance(secret, dict):
            if isinstance(password := secret.get("password"), str) and password:
                mask_secret(password)
            return secret
        reason = "it is not a JSON object"
    raise StopAll(
        f"The secret {settings.database_secret} cannot be used ({reason}): it must hold JSON with host, port, dbname, "
        "username and password, and the role needs secretsmanager:GetSecretValue on it."
    )
