"""The example of a workflow that deploys is one that GitHub accepts, and gives no right that a step does not need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.plans import Plan
from scripts.reviewed import plan_file, summary, summary_file

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "docs" / "examples" / "github-actions-deploy.yml"
FOR_PLANS = "github.event_name == 'push' || github.event_name == 'workflow_dispatch'"


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return read


def uses(job: dict[str, Any], action: str) -> dict[str, Any]:
    (step,) = [step for step in job["steps"] if step.get("uses", "").startswith(f"{action}@")]
    return dict(step)


def test_it_follows_the_schema_of_workflows() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(EXAMPLE)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed; GitHub's own CI has it")
def test_actionlint_finds_nothing() -> None:
    done = subprocess.run(["actionlint", str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_lint_looks_at_it_too() -> None:
    recipe = (REPOSITORY / "Makefile").read_text().split("\nlint-github:")[1].split("\npre-commit:")[0]
    assert recipe.count("docs/examples/*.yml") == 2, "by the schema, and by actionlint where it is installed"


def test_pull_requests_plan_main_applies_and_the_night_looks_for_drift(content: dict[str, Any]) -> None:
    on = next(value for key, value in content.items() if str(key) == "True")  # YAML 1.1's name for `on`
    assert {"pull_request", "push", "schedule"} <= on.keys()
    assert on["push"]["branches"] == ["main"]
    plan, apply = content["jobs"]["plan"], content["jobs"]["apply"]
    assert apply["needs"] == "plan"
    assert "refs/heads/main" in apply["if"]
    assert FOR_PLANS in apply["if"]
    (drift,) = [step for step in plan["steps"] if step.get("name") == "Drift"]
    assert drift["if"] == "github.event_name == 'schedule'"
    assert "environment" in apply, "who must approve is asked there"
    assert "environment" not in plan
    assert "fork" not in plan["if"]
    assert "head.repo.full_name == github.repository" in plan["if"]


def test_what_is_applied_is_the_plan_that_was_shown(content: dict[str, Any]) -> None:
    plan, apply = content["jobs"]["plan"], content["jobs"]["apply"]
    uploaded, downloaded = uses(plan, "actions/upload-artifact"), uses(apply, "actions/download-artifact")
    assert uploaded["with"]["name"] == downloaded["with"]["name"]
    assert uploaded["if"] == FOR_PLANS
    assert Path(uploaded["with"]["path"]).parent.name == downloaded["with"]["path"]
    commands = [step["run"] for step in plan["steps"] if step.get("name") == "Plan"]
    commands += [step["run"] for step in apply["steps"] if "run" in step]
    assert commands == [
        'make deploy ENV="$ENVIRONMENT" PLAN_ONLY=1',
        'make deploy ENV="$ENVIRONMENT" PLAN="dist/$ENVIRONMENT.tfplan"',
    ]
    assert plan["strategy"]["matrix"] == apply["strategy"]["matrix"]
    assert apply["strategy"]["max-parallel"] == 1
    assert content["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


@pytest.mark.parametrize(("actions", "drifted"), [((), False), (("update",), True)])
def test_the_summary_is_shown_and_the_night_fails_if_something_differs(
    content: dict[str, Any], tmp_path: Path, actions: tuple[str, ...], drifted: bool
) -> None:
    """The steps run as GitHub runs them, on the file that `make deploy PLAN_ONLY=1` writes."""
    changes = [{"address": "a.b", "type": "a", "mode": "managed", "change": {"actions": [one]}} for one in actions]
    overview = tmp_path / summary_file("prod").relative_to(REPOSITORY)
    overview.parent.mkdir()
    overview.write_text(summary("prod", Plan({"resource_changes": changes})))
    page = tmp_path / "page"
    page.touch()

    def run(name: str) -> int:
        (step,) = [step for step in content["jobs"]["plan"]["steps"] if step.get("name") == name]
        environment = os.environ | {"ENVIRONMENT": "prod", "GITHUB_STEP_SUMMARY": str(page)}
        command = ["bash", "-e", "-c", step["run"]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode

    assert run("Summary") == 0
    assert page.read_text() == overview.read_text()
    assert run("Drift") == (1 if drifted else 0)
    uploaded = uses(content["jobs"]["plan"], "actions/upload-artifact")["with"]["path"]
    assert uploaded.replace("${{ matrix.environment }}", "prod") == str(plan_file("prod").relative_to(REPOSITORY))


def test_aws_is_reached_by_roles_and_without_secrets(content: dict[str, Any]) -> None:
    assert content["permissions"] == {"contents": "read"}
    assert "secrets." not in EXAMPLE.read_text()
    roles = []
    for job in content["jobs"].values():
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
        assert uses(job, "actions/checkout")["with"]["persist-credentials"] is False
        given = uses(job, "aws-actions/configure-aws-credentials")["with"]
        roles.append(given["role-to-assume"])
        if "environment" in job:
            # Terraform waits for MWAA for up to two hours, the job for three.
            assert 7200 < given["role-duration-seconds"] <= 60 * job["timeout-minutes"]
    assert len(set(roles)) == 2, "who plans may not change anything"


def test_actions_are_pinned_and_values_of_others_are_no_part_of_commands(content: dict[str, Any]) -> None:
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        assert "${{" not in step.get("run", ""), f"an injection: {json.dumps(step)}"


def test_it_sets_up_what_ci_sets_up(content: dict[str, Any]) -> None:
    ci = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["checks"]
    for job in content["jobs"].values():
        assert uses(job, "hashicorp/setup-terraform") == uses(ci, "hashicorp/setup-terraform")
