"""infra/terraform is well-formed, explains itself, and refuses what cannot work, with a sentence."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts import terraform_tables
from tests.infra import plan
from tests.infra.plan import FOLDER, Workspace, clean_environment, variables

pytestmark = pytest.mark.infra


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("code") / "checkout")


def test_terraform_is_needed_and_its_lack_is_no_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"There is no terraform on PATH: install Terraform 1\.11"):
        plan.need_terraform()


def test_it_is_formatted() -> None:
    command = [plan.need_terraform(), "fmt", "-check", "-recursive", "-diff", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
    assert done.returncode == 0, f"terraform fmt -recursive infra/terraform would change:\n{done.stdout}{done.stderr}"


def test_it_is_valid(tmp_path: Path, workspace: Workspace) -> None:
    if plan.TOOL.is_file():
        assert "The configuration is valid" in workspace.run("validate").check()
        return
    # The registry's provider, which also does its own checks.
    for arguments in (["init", "-backend=false", "-input=false"], ["validate"]):
        command = [plan.need_terraform(), f"-chdir={workspace.root_module}", *arguments, "-no-color"]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
        if "could not connect to registry.terraform.io" in " ".join(done.stderr.replace("│", " ").split()):
            pytest.skip(f"{plan.WITHOUT_TOOL}, or Terraform's registry, which cannot be reached")
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_may_be_combined_is_planned_and_bad_input_is_refused(workspace: Workspace) -> None:
    """The tests in infra/terraform/tests/*.tftest.hcl."""
    said = workspace.run("test").check()
    assert re.search(r"Success! (\d\d) passed, 0 failed", said)


def test_every_rule_for_input_has_a_test_that_it_refuses_something() -> None:
    tested = set(re.findall(r"\bvar\.(\w+)", (FOLDER / "tests" / "bad_input.tftest.hcl").read_text()))
    text = "\n".join(path.read_text() for path in FOLDER.glob("variables*.tf"))
    ruled = {name for name, body in re.findall(r'(?ms)^variable "(\w+)" \{\n(.*?)^\}', text) if "validation {" in body}
    assert len(ruled) > 30
    assert ruled - tested == set()


SENTENCES: dict[str, dict[str, Any]] = {
    "private_subnet_ids must be exactly two different private subnets": {
        "create_network": "false", "vpc_id": "vpc-1", "private_subnet_ids": ["subnet-1", "subnet-2", "subnet-3"],
    },
    "weekly_maintenance_window_start must be a day and a full or half hour in UTC such as SUN:04:30": {
        "weekly_maintenance_window_start": "SUN:04:10",
    },
    "environment must be dev, stg or prod": {"environment": "production"},
    "create_database = false needs database_secret_arn": {"create_database": "false"},
    "plugins.zip, requirements.txt and startup.sh: run `make package`": {"package_directory": "nowhere"},
    "settings has an unknown name, or one that Terraform sets itself. Allowed are: append_only_tables": {
        "settings": {"namespace": "canvas"},
    },
    "PRIVATE_ONLY cannot work with this package: a private web server does not reach the package index": {
        "webserver_access_mode": "PRIVATE_ONLY",
    },
    "settings has a value with a character outside of ASCII": {"settings": {"skip_tables": "prüfungen"}},
}  # fmt: skip


@pytest.mark.parametrize("sentence", SENTENCES)
def test_bad_input_is_explained(workspace: Workspace, sentence: str) -> None:
    done = workspace.run("plan", *variables("dev", **SENTENCES[sentence]))
    assert done.code == 1
    assert sentence in " ".join(done.said.split())


def test_the_tables_of_inputs_and_outputs_are_those_of_the_code() -> None:
    assert terraform_tables.outdated(FOLDER) == [], "python -m scripts.terraform_tables writes them anew"


def test_everything_is_described() -> None:
    for module in terraform_tables.modules(FOLDER):
        for entry in [*terraform_tables.inputs(module), *terraform_tables.outputs(module)]:
            assert entry.description.endswith("."), f"{module.name}: {entry.name}"
        for entry in terraform_tables.inputs(module):
            assert entry.type, f"{module.name}: {entry.name} has no type"


def test_neither_state_nor_lock_file_is_in_version_control() -> None:
    """The lock would name the digest of the offline provider, and refuse the real one."""
    tracked = subprocess.run(["git", "ls-files", "--", str(FOLDER)], cwd=FOLDER, capture_output=True, text=True)
    assert tracked.returncode == 0
    names = {Path(line).name for line in tracked.stdout.splitlines()}
    assert "backend.tf.example" in names
    assert not names & {".terraform.lock.hcl", "terraform.tfstate"}


def test_the_provider_is_exactly_the_one_that_the_tests_know() -> None:
    """In place of a lock file."""
    pinned = re.search(r'version = "(\d+\.\d+\.\d+)"', (FOLDER / "versions.tf").read_text())
    assert pinned
    assert f"version={pinned[1]}\n" in plan.need_offline_tool().read_text()


def test_the_example_of_a_backend_is_one(workspace: Workspace, tmp_path: Path) -> None:
    """With S3's own lock, and without any setting: those are in a file for each environment."""
    (tmp_path / "backend.tf").write_text((FOLDER / "backend.tf.example").read_text())
    settings = (FOLDER / "backend.tf.example").read_text()
    assert "use_lockfile = true" in settings
    command = [plan.need_terraform(), f"-chdir={tmp_path}"]
    for arguments in (["init", "-backend=false"], ["validate"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=clean_environment())
        assert done.returncode == 0, done.stdout + done.stderr
