"""What is deployed meets a real Airflow: one local stack for all these tests of a process, and it ends with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from local.settings import REPOSITORY
from local.stack import Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole local stack with a dags folder of its own, which is looked at all the time."""
    folder = tmp_path_factory.mktemp("deployed")
    shutil.copytree(REPOSITORY / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    often = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1"}
    with Stack(folder / "stack", rows=10, dags=folder / "dags", environment=often) as running:
        yield running
