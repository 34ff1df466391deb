"""The project runs on every Python that it supports, not only on the one of .venv.

mypy knows what the standard library of the oldest one offers, but not which of its classes take brackets there
(`array.array[int]` needs 3.12). Only the Python itself knows that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.compile_constraints import ROOT
from tests.setup.project import PATIENCE, SUPPORTED_PYTHONS

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
CODE = ("plugins/cd2", "dags", "local", "scripts", "benchmarks", "docs")
IMPORTS = """\
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def usable(version: str) -> str:
    """A Python of that version with its venv module, from where scripts/setup looks; skips without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}*/bin/python{version}")]
    for program in (str(program) for program in found if program):
        if subprocess.run([program, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
            return program
    pytest.skip(f"Python {version} is not installed")


def modules() -> list[str]:
    files = [file for folder in CODE for file in sorted((ROOT / folder).rglob("*.py"))]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removeprefix("plugins.").removesuffix(".__init__") for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("version", [version for version in SUPPORTED_PYTHONS if version != OWN])
def test_every_module_is_imported_on_every_other_supported_python(version: str, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    environment = os.environ | {
        "PYTHON": usable(version),
        "CD2_VENV": str(venv),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    made = [str(ROOT / "scripts" / "setup")]
    imported = [str(venv / "bin" / "python"), "-W", "error::SyntaxWarning", "-c", IMPORTS, *modules()]
    for command in (made, imported):
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"lib/python{version}/" in next(venv.glob("lib/*/site-packages/airflow")).as_posix()
    shutil.rmtree(venv)  # 1 GB, which pytest would keep
