"""What AWS keeps may change between two lookups: through Airflow's own secrets backends, and through our hooks.

The backends are those of apache-airflow-providers-amazon; moto speaks AWS's protocol.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import boto3
import pytest
from psycopg import sql

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import RefusedCredentials
from cd2.replication.replicator import Replicator
from cd2.tasks import credentials
from cd2.tasks.credentials import make_replicator, with_credentials
from cd2.tasks.finding import Found
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.replica import credentials_of, execute, run, target_of
from tests.replication.triggerer import Triggerer
from tests.steps import init

TABLE = "canvas.roles"
OLD, NEW = "old-pw-1", "new-pw-2"
BACKENDS = {
    "systems_manager": "airflow.providers.amazon.aws.secrets.systems_manager.SystemsManagerParameterStoreBackend",
    "secrets_manager": "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
}
SOURCES = [*BACKENDS, "hooks"]


@dataclass
class Source:
    """Where the credentials are kept, as one deployment has it.

    :param kind: one of `SOURCES`.
    :param prefix: of the names; nothing of another test is found by it.
    """

    kind: str
    prefix: str

    def configure(self, monkeypatch: pytest.MonkeyPatch, simulator: SimulatorControl) -> None:
        if self.kind in BACKENDS:
            monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", BACKENDS[self.kind])
            kwargs = json.dumps({"connections_prefix": f"/{self.prefix}/connections"})
            monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", kwargs)
        monkeypatch.setenv("AIRFLOW__CD2__DAP_BASE_URL", simulator.base_url)
        monkeypatch.setenv("AIRFLOW__CD2__SSM_PATH", self.prefix)
        monkeypatch.setenv("AIRFLOW__CD2__DATABASE_SECRET", f"{self.prefix}/database" if self.kind == "hooks" else "")
        monkeypatch.setenv("AIRFLOW__CD2__DATABASE_SSLMODE", "disable")

    def put_key(self, key: DapCredentials) -> None:
        if self.kind == "hooks":
            for name, value in (("dap_client_id", key.client_id), ("dap_client_secret", key.client_secret)):
                self._parameter(f"/dev/{self.prefix}/{name}", value)
        else:
            login = {"login": key.client_id, "password": key.client_secret}
            self._connection("cd2_dap", {"conn_type": "http", "host": key.base_url, **login})

    def put_database(self, target: DatabaseTarget) -> None:
        place = {"host": target.host, "port": target.port}
        if self.kind == "hooks":
            login = {"dbname": target.dbname, "username": target.user, "password": target.password}
            self._secret(f"{self.prefix}/database", {**place, **login})
        else:
            login = {"schema": target.dbname, "login": target.user, "password": target.password}
            self._connection("cd2_postgres", {"conn_type": "postgres", **place, **login})

    def _connection(self, name: str, connection: dict[str, object]) -> None:
        path = f"/{self.prefix}/connections/{name}"
        if self.kind == "systems_manager":
            self._parameter(path, json.dumps(connection))
        else:
            self._secret(path, connection)

    def _parameter(self, name: str, value: str) -> None:
        boto3.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    def _secret(self, name: str, value: dict[str, object]) -> None:
        client = boto3.client("secretsmanager")
        try:
            client.create_secret(Name=name, SecretString=json.dumps(value))
        except client.exceptions.ResourceExistsException:
            client.put_secret_value(SecretId=name, SecretString=json.dumps(value))


@dataclass
class Rotated:
    """A replica whose credentials are outdated where they are kept.

    :param correct: a rotation ends: what is kept there is right.
    """

    target: DatabaseTarget
    correct: Callable[[], None]


@pytest.fixture(params=SOURCES)
def source(
    request: pytest.FixtureRequest,
    aws: None,
    target: DatabaseTarget,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
) -> Source:
    # Airflow's cache of secrets, which it uses only where it parses DAG files.
    monkeypatch.setenv("AIRFLOW__SECRETS__USE_CACHE", "True")
    monkeypatch.setattr(credentials, "SECOND_LOOK_S", 0.0)
    made = Source(request.param, target.dbname)
    made.configure(monkeypatch, simulator)
    return made


@pytest.fixture(params=["the database's password", "the DAP key"])
def rotated(
    request: pytest.FixtureRequest,
    source: Source,
    simulator: SimulatorControl,
    replicator: Replicator,
    postgres: EmbeddedPostgres,
    database: str,
    target: DatabaseTarget,
) -> Iterator[Rotated]:
    """A password or key that was right when the table was loaded."""
    run(init(replicator, TABLE))
    key = credentials_of(simulator)
    role = sql.Identifier(f"loader_{target.dbname}")
    postgres.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(role, sql.Literal(NEW)))
    login = {"user": f"loader_{target.dbname}"}
    if request.param == "the DAP key":
        source.put_database(target_of(database, password=NEW, **login))
        source.put_key(DapCredentials(key.base_url, key.client_id, OLD))
        yield Rotated(target, lambda: source.put_key(key))
    else:
        source.put_key(key)
        source.put_database(target_of(database, password=OLD, **login))
        yield Rotated(target, lambda: source.put_database(target_of(database, password=NEW, **login)))
    postgres.execute(sql.SQL("DROP ROLE {}").format(role))


async def ask(replicator: Replicator) -> str:
    """What a task needs both credentials for."""
    await replicator.freshness()
    return ", ".join(map(str, await replicator.list_tables("canvas")))


def test_a_task_finds_what_a_rotation_has_changed_on_aws(rotated: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []

    def between(seconds: float) -> None:
        looked.append(seconds)
        rotated.correct()

    monkeypatch.setattr(time, "sleep", between)
    assert TABLE in with_credentials(ask)
    assert len(looked) == 1


def test_a_task_fails_if_nothing_has_changed_on_aws(rotated: Rotated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(RefusedCredentials) as caught:
        with_credentials(ask)
    assert OLD not in caught.value.message


def test_a_triggerer_finds_what_a_rotation_has_changed_on_aws(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Replicator] = []

    def make() -> Replicator:
        if made:
            rotated.correct()
        made.append(make_replicator(2))
        return made[-1]

    async def wait() -> Found:
        found = await Triggerer(make, [TABLE], monkeypatch).wait(0)
        for one in made:
            await one.close()
        return found

    found = run(wait())
    assert found.error is None
    assert found.job_id
    assert len(made) == 2
    assert execute(rotated.target, "SELECT count(*) FROM cd2.stops") == "0"
