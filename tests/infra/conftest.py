"""What the tests of the deployment share: AWS services in a moto server, and clients that talk to nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import boto3
import pytest

from local import aws
from local.settings import REPOSITORY
from local.stack import Stack


@pytest.fixture
def moto(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every AWS client of this process, and of its children, talks to moto."""
    for name, value in aws.environment(aws_endpoint).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return aws_endpoint


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole local stack with a dags folder of its own, which is looked at all the time."""
    folder = tmp_path_factory.mktemp("deployed")
    shutil.copytree(REPOSITORY / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    often = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1"}
    with Stack(folder / "stack", rows=10, dags=folder / "dags", environment=often) as running:
        yield running
