"""Programs of others that the tests of the deployment use, each in an environment of its own below .venv."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from scripts.setup import uv_environment


def installed(package: str, version: str) -> Path:
    """The folder of a PyPI package's programs; installed the first time, and again for another version.

    Apart from .venv because its dependencies contradict Airflow's constraints.
    """
    folder = Path(sys.prefix) / package
    stamp = folder / "version"
    with FileLock(Path(sys.prefix) / f"{package}.lock"):
        if not stamp.exists() or stamp.read_text() != version:
            uv = [sys.executable, "-m", "uv"]
            for command in (
                [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
                [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), f"{package}=={version}"],
            ):
                subprocess.run(command, env=uv_environment(), check=True)
            stamp.write_text(version)
    return folder / "bin"
