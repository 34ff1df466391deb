"""A small project on which scripts/setup is run for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.compile_constraints import CONSTRAINTS, ROOT, read_pins

USER, PASSWORD = "builder", "mirror-password"
SUPPORTED_PYTHONS = ("3.11", "3.12", "3.13")
PATIENCE = 600  # s; a busy machine is no failure


class Project:
    """A set of requirements, where its environment goes, and how scripts/setup is run on it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / "cd2-setup.txt"
        (folder / "dags").mkdir(parents=True)
        self.constraints = folder / "dags" / "constraints-test.txt"
        self.constraints.write_text(f"cd2-probe==1.0\nuv=={read_pins(CONSTRAINTS)['uv']}\n")
        self.development = folder / "requirements-dev.txt"
        self.development.write_text("")
        (folder / "requirements.txt").write_text(
            '--constraint "/usr/local/airflow/dags/constraints-test.txt"\ncd2-probe\n'
        )
        outside = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "VIRTUAL_ENV")}
        ours = {"CD2_VENV": str(self.venv), "CD2_REQUIREMENTS": str(folder), "PYTHON": sys.executable}
        self.environment = outside | ours | environment

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in (self.environment | settings).items() if value}
        return subprocess.Popen(
            [ROOT / "scripts" / "setup", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def setup(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Exit status and output of one run."""
        process = self.start(*arguments, **settings)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def packages(self) -> dict[str, str]:
        found = (path.name.removesuffix(".dist-info") for path in self.venv.glob("lib/*/site-packages/*.dist-info"))
        return dict(name.rsplit("-", 1) for name in found)
