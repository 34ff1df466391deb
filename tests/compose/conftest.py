"""Docker Compose itself, and compose projects to try it on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compose.binary import ComposeProject, compose_program

LOCAL_EXECUTOR = {"COMPOSE_FILE": "docker-compose.yaml:docker-compose.local-executor.yaml"}
"""The line of `.env` that chooses the variant without Celery."""


@pytest.fixture(scope="session")
def program() -> list[str]:
    """The command line of Docker Compose."""
    found = compose_program()
    if found is None:
        pytest.skip("no Docker Compose for this machine: PyPI has it for Linux on x86-64, and no docker is installed")
    return found


@pytest.fixture
def project(program: list[str], tmp_path: Path) -> Callable[..., ComposeProject]:
    """Makes the project of a person with these lines in `.env` and `.env.airflow`."""

    def make(airflow: dict[str, str] | None = None, **settings: str) -> ComposeProject:
        directory = tmp_path / f"project-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        return ComposeProject(program, directory, settings, airflow)

    return make
