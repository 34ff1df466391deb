"""What the tests of the deployment share: AWS services in a moto server, and clients that talk to nobody else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import requests

from local import aws
from local.postgres import EmbeddedPostgres
from tests.infra import account, mwaa_api
from tests.infra.aurora import CLUSTER, PASSWORD, Aurora, put_secret
from tests.infra.data_api import DataApi, serving
from tests.infra.deployment import Deployment
from tests.infra.life import Life
from tests.infra.plan import Workspace


@pytest.fixture
def moto(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every AWS client of this process, and of its children, talks to moto."""
    for name, value in aws.environment(aws_endpoint).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return aws_endpoint


@pytest.fixture
def aurora(postgres: EmbeddedPostgres, moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aurora]:
    token = secrets.token_hex(4)
    names = {"database": f"cd2_{token}", "admin": f"admin_{token}", "user": f"loader-{token}"}
    postgres.create_role(names["admin"], "admin password", "CREATEROLE CREATEDB")
    postgres.create_database(names["database"], owner=names["admin"])
    put_secret(names["admin"], username=names["admin"], password="admin password")
    put_secret(
        names["user"],
        host="db.example",
        port=5432,
        dbname=names["database"],
        username=names["user"],
        password=PASSWORD,
    )
    api = DataApi({CLUSTER: ("127.0.0.1", int(postgres.port or 0))})
    with serving(api) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_RDS_DATA", address)
        yield Aurora(postgres, api, names["database"], names["admin"], names["user"])
    postgres.drop_database(names["database"])


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """One that tests look at and plan changes of, but never apply another to."""
    return Deployment(Workspace(tmp_path_factory.mktemp("deployment") / "checkout"))


@pytest.fixture
def life(moto: str, tmp_path: Path) -> Iterator[Life]:
    with living(moto, tmp_path, running=True) as alive:
        yield alive


@pytest.fixture
def life_by_command(moto: str, tmp_path: Path) -> Iterator[Life]:
    """Terraform installs the provider, and starts it for each of its commands."""
    with living(moto, tmp_path, running=False) as alive:
        yield alive


@contextmanager
def living(moto: str, folder: Path, *, running: bool) -> Iterator[Life]:
    requests.post(f"{moto}/moto-api/reset", timeout=60).raise_for_status()
    behind, airflow = account.Account(moto), mwaa_api.Resting()
    workspace = Workspace(folder / "checkout")
    with account.serving(behind, folder, running=running) as terraform, mwaa_api.serving(airflow) as proxy:
        environment = terraform | proxy | {name.lower(): value for name, value in proxy.items()}
        environment |= {"CD2_TERRAFORM_FOLDER": str(workspace.root_module), "YES": ""}
        yield Life(behind, airflow, workspace, environment)
