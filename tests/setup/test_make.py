"""`make` explains itself, and CI stops at the first step that fails."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.compile_constraints import ROOT

TARGETS = {"help", "setup", "run", "up", "down", "status", "psql", "compare", "dap", "logs", "reset"}
TARGETS |= {"package", "deploy", "dap-key", "prepare-database", "smoke", "destroy"}
TARGETS |= {"test", "test-slow", "test-infra", "bench-refresh", "lint", "format", "constraints", "bench", "clean"}


def test_make_alone_lists_every_target_with_what_it_does():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"(?m)^  ([a-z-]+) +(\S.*)$", listed))
    assert set(described) == TARGETS


@pytest.mark.parametrize("failing", ["setup", "lint", "test", "test-slow", "test-infra", "nothing"])
def test_ci_stops_at_the_first_failing_step(tmp_path: Path, failing: str):
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "ran $1"\n[ "$1" != {failing} ] || exit 3\n')
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    steps = ["setup", "lint", "test", "test-slow", "test-infra"]
    expected = steps if failing == "nothing" else steps[: steps.index(failing) + 1]
    assert re.findall("(?m)^ran (.+)$", done.stdout) == expected
    last = done.stdout.strip().splitlines()[-1]
    if failing == "nothing":
        assert done.returncode == 0
        assert last.startswith("CI: setup, lint, test, test-slow and test-infra passed in")
    else:
        assert done.returncode == 3
        assert last.startswith(f"CI: {failing} failed after")
