"""scripts/setup makes the development environment, or ends with one sentence.

It says quickly when there is nothing to do, and mends what was left half-made.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from scripts.setup import uv_environment
from tests.setup.project import PASSWORD, PATIENCE, Project

FAKE = """\
#!/bin/sh
# {version}, played by a real Python
[ "$1" = -c ] || {{ echo "ran $0"; exit 0; }}
shift
exec '{real}' -c '
import sys
sys.version_info = ({version_tuple}, "final", 0)
{more}
exec(sys.argv[1])' "$1"
"""
SHIM = '#!/bin/sh\necho "pyenv: $0: command not found" >&2\nexit 127\n'


class Pythons:
    """A PATH on which only the given Pythons exist, and what scripts/setup itself calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir()
        (self.path / "dirname").symlink_to(str(shutil.which("dirname")))

    def add(self, name: str, version: str | None, more: str = "", folder: Path | None = None) -> Path:
        program = (folder or self.path) / name
        program.parent.mkdir(parents=True, exist_ok=True)
        version_tuple = (version or "").replace(".", ", ")
        fake = FAKE.format(version=version, version_tuple=version_tuple, more=more, real=sys.executable)
        program.write_text(fake if version else SHIM)
        program.chmod(0o755)
        return program

    def setup(self, project: Project, **settings: str) -> tuple[int, str]:
        environment = {"PATH": str(self.path), "HOME": str(self.folder), "PYENV_ROOT": "", "PYTHON": ""}
        return project.setup(**environment | settings)


@pytest.fixture
def pythons(tmp_path: Path) -> Pythons:
    return Pythons(tmp_path)


def test_no_usable_python_is_a_sentence(pythons: Pythons, offline_project: Project) -> None:
    pythons.add("python3.12", None)
    pythons.add("python3", "3.9.18")
    code, output = pythons.setup(offline_project)
    assert code == 1
    assert output.startswith("setup: no usable Python. Airflow here needs Python 3.12 (3.11 and 3.13 work too):")
    assert f"{pythons.path}/python3.12 does not run" in output
    assert f"{pythons.path}/python3 is 3.9.18" in output
    assert not offline_project.venv.exists()


def test_no_python_at_all_is_a_sentence(pythons: Pythons, offline_project: Project) -> None:
    code, output = pythons.setup(offline_project)
    assert code == 1
    assert output.startswith("setup: no usable Python.")
    assert output.count("\n") == 1
    assert "Found" not in output


def test_a_newer_python_than_airflows_is_refused(pythons: Pythons, offline_project: Project) -> None:
    pythons.add("python3", "3.14.0")
    code, output = pythons.setup(offline_project)
    assert code == 1
    assert "python3 is 3.14.0" in output


def test_a_python_without_its_venv_module_is_a_sentence(pythons: Pythons, offline_project: Project) -> None:
    pythons.add("python3", "3.12.3", more='sys.modules["ensurepip"] = None')
    code, output = pythons.setup(offline_project)
    assert code == 1
    assert "python3 is 3.12.3 without its venv module (apt-get install python3.12-venv)" in output


def test_python_312_of_an_inactive_pyenv_version_is_found(pythons: Pythons, offline_project: Project) -> None:
    pythons.add("python3.12", None)
    pythons.add("python3", "3.11.9")
    hidden = pythons.add("python3.12", "3.12.4", folder=pythons.folder / "pyenv/versions/3.12.4/bin")
    code, output = pythons.setup(offline_project, PYENV_ROOT=str(pythons.folder / "pyenv"))
    assert (code, output) == (0, f"ran {hidden}\n")


def test_another_python_than_mwaas_is_named(pythons: Pythons, offline_project: Project) -> None:
    program = pythons.add("python3.11", "3.11.9")
    code, output = pythons.setup(offline_project)
    assert code == 0
    assert output == f"setup: no Python 3.12, which is what MWAA runs; taking {program}\nran {program}\n"


def test_the_named_python_is_taken_or_refused(pythons: Pythons, offline_project: Project) -> None:
    pythons.add("python3.12", "3.12.4")
    named = pythons.add("mine", "3.13.1")
    assert pythons.setup(offline_project, PYTHON=str(named)) == (0, f"ran {named}\n")
    code, output = pythons.setup(offline_project, PYTHON="python2.7")
    assert code == 1
    assert output.startswith("setup: PYTHON=python2.7 is no usable Python:")


@pytest.mark.slow
def test_an_unreachable_index_is_a_sentence(offline_project: Project) -> None:
    code, output = offline_project.setup()
    assert code == 1
    assert "setup: the package index cannot be reached (127.0.0.1:9: connection refused)." in output
    assert "PIP_INDEX_URL" in output
    assert PASSWORD not in output
    assert output.count("\n") == 2
    assert not offline_project.venv.exists()


@pytest.mark.slow
def test_it_sets_up_then_does_nothing_then_refreshes(project: Project) -> None:
    """Steps of one environment's life, as making one takes seconds."""
    code, output = project.setup()
    assert code == 0, output
    assert "no conflicts" in output
    assert "stack" not in output
    assert PASSWORD not in output
    # from the mirror that only pip's settings name, and the constraint of MWAA's dags folder holds
    assert project.packages()["cd2_probe"] == "1.0"
    assert "uv" in project.packages()

    made = project.stamp.stat().st_mtime_ns
    started = time.monotonic()
    assert project.setup() == (0, f"setup: nothing to do, {project.venv} is up to date\n")
    assert project.setup("--quiet", PYTHON="") == (0, "")
    assert time.monotonic() - started < 20  # 0.1 s on a quiet machine
    assert project.stamp.stat().st_mtime_ns == made

    project.constraints.write_text(project.constraints.read_text().replace("cd2-probe==1.0", "cd2-probe==2.0"))
    project.development.write_text("cd2-extra\n")
    (project.folder / ".local").mkdir()
    with FileLock(project.folder / ".local" / "lock"):  # as the owner of a running stack does
        code, output = project.setup()
    assert code == 0, output
    assert "refreshing" in output
    assert output.splitlines()[-1].startswith(
        "setup: the local stack still runs with the packages from before: `make down`"
    )
    assert project.packages()["cd2_probe"] == "2.0"
    assert "cd2_extra" in project.packages()


@pytest.mark.slow
def test_it_mends_what_was_changed_by_hand_and_keeps_what_was_added(project: Project) -> None:
    code, output = project.setup()
    assert code == 0, output

    command = ["uv", "pip", "install", "--quiet", "--python", str(project.python), "cd2-extra"]
    environment = uv_environment() | {"UV_EXTRA_INDEX_URL": project.environment["PIP_EXTRA_INDEX_URL"]}
    subprocess.run([sys.executable, "-m", *command], env=environment, check=True)
    assert project.setup("--quiet") == (0, "")

    shutil.rmtree(next(project.venv.glob("lib/*/site-packages/cd2_probe-1.0.dist-info")))
    code, output = project.setup()
    assert code == 0, output
    assert "refreshing" in output
    assert {"cd2_probe", "cd2_extra"} <= set(project.packages())

    project.development.write_text("cd2-probe==3.0\n")
    code, output = project.setup()
    assert code == 1
    assert "setup: the packages cannot be installed:" in output
    assert "cd2_extra" in project.packages()
    project.development.write_text("")

    project.python.unlink()
    code, output = project.setup()
    assert code == 0, output
    assert "making" in output
    assert project.packages()["cd2_probe"] == "1.0"


@pytest.mark.slow
def test_where_the_checkout_was_moved_the_environment_is_made_anew(project: Project) -> None:
    code, output = project.setup()
    assert code == 0, output
    moved = project.folder.with_name("moved")
    project.folder.rename(moved)
    settings = {"CD2_VENV": str(moved / "venv"), "CD2_REQUIREMENTS": str(moved)}
    code, output = project.setup(**settings)
    assert code == 0, output
    assert f"making (half a minute, 1 GB) {moved}/venv" in output
    # a program in bin/ names its environment's path
    assert str(moved) in (moved / "venv" / "bin" / "pip").read_text().splitlines()[0]
    assert project.setup("--quiet", **settings) == (0, "")


@pytest.mark.slow
def test_an_environment_that_is_linked_from_another_checkout_is_left_alone(offline_project: Project) -> None:
    other = offline_project.folder / "other"
    other.mkdir()
    (other / "in-use").touch()
    offline_project.venv.symlink_to(other)
    status, output = offline_project.setup()
    assert status == 1
    assert f"is a link to {other}: remove the link, then run this again." in output
    assert (other / "in-use").exists()


@pytest.mark.slow
def test_killed_half_way_the_next_one_starts_afresh(project: Project) -> None:
    killed = project.start()
    while not list(project.venv.glob("lib/*/site-packages/pip/__init__.py")):
        assert killed.poll() is None
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not project.stamp.exists()

    first, second = project.start(), project.start()
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert sum("making" in output for output in outputs) == 1
    assert sum("another set-up is running, waiting for it" in output for output in outputs) == 1
    assert project.packages()["cd2_probe"] == "1.0"
    subprocess.run([project.python, "-c", "import cd2_probe"], check=True)


@pytest.mark.slow
def test_what_cannot_be_installed_leaves_no_environment(project: Project) -> None:
    project.development.write_text("cd2-probe==3.0\n")
    code, output = project.setup()
    assert code == 1
    assert "setup: the packages cannot be installed:" in output
    assert "cd2-probe==3.0" in output
    assert "Traceback" not in output
    assert PASSWORD not in output
    assert not project.venv.exists()


def test_uv_gets_pips_settings_unless_it_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_")) or name == "ALL_PROXY"]:
        monkeypatch.delenv(name)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /etc/company.pem\n"
        "trusted-host = mirror.example\nproxy = http://proxy.example:3128\n"
        "[install]\nextra-index-url =\n    file:///srv/wheels\n    https://other.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    assert uv_environment().items() - os.environ.items() == {
        ("UV_INDEX_URL", "https://mirror.example/simple"),
        ("UV_EXTRA_INDEX_URL", "https://other.example/simple"),
        ("UV_INDEX_STRATEGY", "unsafe-best-match"),
        ("UV_INSECURE_HOST", "mirror.example"),
        ("SSL_CERT_FILE", "/etc/company.pem"),
        ("ALL_PROXY", "http://proxy.example:3128"),
        ("UV_PYTHON_DOWNLOADS", "never"),
    }

    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/own.pem")
    settings = uv_environment()
    assert settings["UV_INDEX_URL"] == "https://variable.example/simple"
    assert settings["SSL_CERT_FILE"] == "/etc/own.pem"

    monkeypatch.setenv("UV_INDEX_URL", "https://own.example/simple")
    assert uv_environment()["UV_INDEX_URL"] == "https://own.example/simple"
