"""requirements.txt installs into MWAA's image by MWAA's own step.

An environment is filled as the image is (scripts/mwaa-3.3.1/image-requirements.txt under Airflow's own constraints),
then the container's step runs literally: `pip3 install --constraint mwaa_essential_constraints.txt -r
requirements.txt`. A failed install is only logged there and Airflow starts without our packages, so this is where it
has to be found out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.compile_constraints import AIRFLOW_CONSTRAINTS, CONSTRAINTS, ESSENTIAL_CONSTRAINTS, IMAGE, ROOT, read_pins
from scripts.package import build
from scripts.setup import uv_environment

pytestmark = pytest.mark.slow

MWAA_CONSTRAINTS = f"/usr/local/airflow/dags/{CONSTRAINTS.name}"


class Image:
    """A virtual environment filled like MWAA's image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        command: list[str | Path] = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", self.python]
        command += ["-c", AIRFLOW_CONSTRAINTS, "-c", ESSENTIAL_CONSTRAINTS, "-r", IMAGE / "image-requirements.txt"]
        subprocess.run(command, env=uv_environment(), check=True)
        self.before = self.versions()

    def run(self, *command: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
        environment.pop("PYTHONPATH", None)
        environment |= {"AIRFLOW_HOME": str(self.folder / "airflow"), **settings}
        return subprocess.run(
            [self.python, *command], env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def versions(self) -> dict[str, str]:
        return dict(line.split("==") for line in self.run("-m", "pip", "freeze").stdout.split())

    def requirements(self, constraints: Path) -> Path:
        """requirements.txt with the path of MWAA's dags folder exchanged, which cannot be written to here."""
        original = (ROOT / "requirements.txt").read_text()
        assert original.count(MWAA_CONSTRAINTS) == 1
        path = self.folder / f"requirements-{constraints.stem}.txt"
        path.write_text(original.replace(MWAA_CONSTRAINTS, str(constraints)))
        return path

    def install(self, requirements: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """The container's step."""
        extra = []
        # MWAA adds Airflow's constraints unless a line, even a comment, seems to name some
        if not any(re.search(r"-c |--constraint ", line) for line in requirements.read_text().splitlines()):
            extra = ["-c", str(AIRFLOW_CONSTRAINTS)]
        return self.run(
            "-m", "pip", "install", *options, "--constraint", ESSENTIAL_CONSTRAINTS, "-r", requirements, *extra
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("mwaa"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Another one, with our packages: the first stays as it is."""
    image = Image(tmp_path_factory.mktemp("installed"))
    done = image.install(image.requirements(CONSTRAINTS))
    assert done.returncode == 0, done.stdout + done.stderr
    return image


def test_the_image_is_what_aws_ships(image: Image) -> None:
    shipped = {
        "apache-airflow": "3.3.1",
        "apache-airflow-providers-amazon": "9.34.0",
        "apache-airflow-providers-postgres": "7.0.1",
        "apache-airflow-providers-common-sql": "2.1.0",
        "apache-airflow-providers-standard": "1.17.0",
        "asyncpg": "0.31.0",
        "psycopg": "3.3.4",
        "SQLAlchemy": "2.0.51",
        "cryptography": "50.0.0",
    }
    assert {name: image.before.get(name) for name in shipped} == shipped
    assert "instructure-dap-client" not in image.before


@pytest.mark.parametrize("because", ["Airflow's own constraints", "no line that MWAA takes for constraints"])
def test_it_does_not_install_under_airflows_own_constraints(image: Image, because: str) -> None:
    requirements = image.requirements(AIRFLOW_CONSTRAINTS)
    if because != "Airflow's own constraints":
        lines = requirements.read_text().splitlines(keepends=True)
        requirements = requirements.with_name("unconstrained.txt")
        requirements.write_text("".join(line for line in lines if "--constraint" not in line))
    done = image.install(requirements, "--dry-run")
    assert done.returncode != 0
    assert "conflicting dependencies" in done.stdout + done.stderr


def test_without_our_packages_the_dag_parses_and_says_what_is_missing(image: Image) -> None:
    """What MWAA runs after a failed install: its image as it is."""
    script = (
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(ROOT / 'dags')!r})\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "dag = bag.dags['canvas_data_2']\n"
        "dag.deadline = None  # dag.test() cannot do with one\n"
        "for task in dag.tasks:\n"
        "    task.retries = 0\n"
        "run = dag.test()\n"
        "print('states:', run.state, {ti.task_id: str(ti.state) for ti in run.get_task_instances()})\n"
    )
    settings = {"PYTHONPATH": str(ROOT / "plugins"), "AIRFLOW_ENV_NAME": "canvas-data-2-dev"}
    settings |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins")}
    settings |= {"AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags")}
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        made = image.run("-m", "airflow", *command, **settings)
        assert made.returncode == 0, made.stderr
    done = image.run("-c", script, **settings)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert "states: failed" in output
    assert "'prepare_database': 'failed'" in output
    assert "'notify': 'failed'" in output
    assert "[FAILURE] Canvas Data 2 dev: prepare_database failed" in output
    assert "instructure-dap-client is missing" in output, output
    assert "log group airflow-canvas-data-2-dev-Worker, log streams requirements_install*" in output
    assert "the constraints file that requirements.txt names was not in the dags folder" in output


def test_mwaas_step_installs_without_a_conflict(installed: Image) -> None:
    check = installed.run("-m", "pip", "check")
    assert check.returncode == 0, check.stdout
    assert installed.versions()["instructure-dap-client"] == "2.3.1"


def test_only_the_listed_packages_of_the_image_change(installed: Image) -> None:
    after = installed.versions()
    changed = {name: after.get(name) for name, pin in installed.before.items() if after.get(name) != pin}
    airflow = read_pins(AIRFLOW_CONSTRAINTS)
    ours = {name: pin for name, pin in read_pins(CONSTRAINTS).items() if pin != airflow[name]}
    assert changed == {name: pin for name, pin in ours.items() if name in installed.before}
    assert changed
    essential = {name.lower(): pin for name, pin in read_pins(ESSENTIAL_CONSTRAINTS).items()}
    versions = {name.lower().replace("_", "-"): pin for name, pin in after.items()}
    assert {name: versions[name] for name in essential if name in versions} == {
        name: pin for name, pin in essential.items() if name in versions
    }


def test_it_imports_there(installed: Image) -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT / "plugins").with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "plugins").rglob("*.py")
    )
    assert "cd2" in modules
    modules += ["dap.api", "dap.replicator.sql", "asyncpg", "airflow.providers.amazon.aws.hooks.ssm"]
    modules += ["airflow.providers.amazon.aws.hooks.sns", "airflow.providers.postgres.hooks.postgres"]
    done = installed.run("-c", "import " + ", ".join(modules), PYTHONPATH=str(ROOT / "plugins"))
    assert done.returncode == 0, done.stderr


def test_the_dag_runs_there_on_the_packaged_plugins(installed: Image) -> None:
    """plugins.zip as `make package` makes it, unpacked as MWAA does, with nothing of this checkout on the path."""
    package = build(folder=installed.folder / "dist")
    home = installed.folder / "airflow-home"
    shutil.unpack_archive(package.folder / "plugins.zip", home / "plugins")
    shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    assert (package.folder / "requirements.txt").read_text().endswith((ROOT / "requirements.txt").read_text())
    script = (
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(home / 'dags')!r})\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "assert 'canvas_data_2' in bag.dags, bag.dags\n"
        "import sys, cd2.tasks.requirements_check, cd2.replication.replicator\n"
        "from cd2.settings import RDS_CA_BUNDLE\n"
        "cd2.tasks.requirements_check.check()\n"
        "assert RDS_CA_BUNDLE.is_file()\n"
        f"ours = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'cd2']\n"
        f"assert all(f.startswith({str(home / 'plugins')!r}) for f in ours), ours\n"
        "from airflow import plugins_manager\n"
        "plugins, errors = plugins_manager._get_plugins()\n"
        "assert not errors, errors\n"
        "assert 'cd2' in [plugin.name for plugin in plugins], plugins\n"
    )
    settings = {"PYTHONPATH": str(home / "plugins"), "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins")}
    done = installed.run("-c", script, **settings)
    assert done.returncode == 0, done.stderr
