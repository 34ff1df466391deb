"""What GitHub runs is what `.ci/run` runs, on every Python that is supported, with no right that it does not need."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.setup.project import SUPPORTED_PYTHONS

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / ".github" / "workflows" / name).read_text())
    return content


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job["steps"]]


def test_ci_runs_our_script_on_every_supported_python() -> None:
    job = workflow("ci.yml")["jobs"]["checks"]
    assert job["strategy"]["matrix"]["python"] == list(SUPPORTED_PYTHONS)
    assert ".ci/run" in [step.get("run") for step in job["steps"]]


def test_ci_runs_docker_compose_for_real() -> None:
    assert ".ci/compose" in [step.get("run") for step in workflow("ci.yml")["jobs"]["compose"]["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_ends_in_time_and_pins_its_actions(path: Path) -> None:
    content = workflow(path.name)
    assert content["permissions"] == {"contents": "read"}
    assert all("permissions" not in job and job["timeout-minutes"] <= 120 for job in content["jobs"].values())
    for step in steps(content):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("script", [".ci/run", ".ci/compose"])
def test_our_scripts_can_be_executed(script: str) -> None:
    assert os.access(REPOSITORY / script, os.X_OK)


def test_every_step_of_ci_is_a_target_of_make() -> None:
    (listed,) = re.findall(r"for step in ([\w\- ]+); do", (REPOSITORY / ".ci" / "run").read_text())
    targets = re.findall(r"(?m)^([a-z-]+):", (REPOSITORY / "Makefile").read_text())
    assert set(listed.split()) <= set(targets)
