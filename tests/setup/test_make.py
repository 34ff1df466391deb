"""`make` explains itself, and CI stops at the first step that fails."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from local.command.given import KNOWN
from scripts.compile_constraints import ROOT
from tests.conftest import FOR_PROGRAMS

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"(?m)^([a-z][a-z-]*):(?!=)", MAKEFILE))
VARIABLES = {name.upper() for name in re.findall(r"(?ms)^SMALL := (.+?[^\\])$", MAKEFILE)[0].replace("\\", " ").split()}
NOT_FOR_PEOPLE = {"venv"}
STEPS = re.findall(r"(?m)^for step in (.+); do$", (ROOT / ".ci" / "run").read_text())[0].split()


def test_make_alone_lists_every_target_with_what_it_does() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"(?m)^  ([a-z-]+) +(\S.*)$", listed))
    assert set(described) == TARGETS - NOT_FOR_PEOPLE


def test_no_file_of_the_same_name_keeps_a_target_from_being_made() -> None:
    assert set(" ".join(re.findall(r"(?m)^\.PHONY: (.+)$", MAKEFILE)).split()) == TARGETS


def test_a_variable_in_small_letters_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    read = {name for names in KNOWN.values() for name in names}
    read |= set(re.findall(r"\b([A-Z_]+)=", " ".join(re.findall(r"##? .+", MAKEFILE)))) - {"NAME"}
    assert read | {"PYTHON"} == VARIABLES
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for target, given, meant in (("run", "tables=users", "TABLES=users"), ("deploy", "env=dev", "ENV=dev")):
        refused = subprocess.run(["make", target, given], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert f"nothing reads {given}; did you mean {meant}?" in refused.stderr
        assert refused.stdout == ""
    listed = subprocess.run(["make", "-n", "run", "TABLES=users"], cwd=tmp_path, capture_output=True, text=True)
    assert "local run" in listed.stdout, listed.stderr


def test_what_a_developer_gives_a_target_reaches_no_program_that_a_test_starts() -> None:
    """make hands its variables on: with `make test-infra ARGS=FOLDER`, a test's own `make smoke` would read these."""
    assert {*FOR_PROGRAMS, "PYTHON"} == VARIABLES
    assert not set(FOR_PROGRAMS) & os.environ.keys()


def test_ci_runs_what_a_developer_runs_and_every_kind_of_test() -> None:
    assert STEPS[:2] == ["setup", "lint"]
    kinds = {target for target in TARGETS if target.startswith("test")}
    assert kinds - {"test"} | {"coverage"} <= set(STEPS), "coverage runs what make test runs"


@pytest.mark.parametrize("failing", [*STEPS, "nothing"])
def test_ci_stops_at_the_first_failing_step(tmp_path: Path, failing: str) -> None:
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "ran $1"\n[ "$1" != {failing} ] || exit 3\n')
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    expected = STEPS if failing == "nothing" else STEPS[: STEPS.index(failing) + 1]
    assert re.findall("(?m)^ran (.+)$", done.stdout) == expected
    last = done.stdout.strip().splitlines()[-1]
    if failing == "nothing":
        assert done.returncode == 0
        assert re.fullmatch(rf"CI passed in \d+ s: {', '.join(rf'{step} [0-9]+ s' for step in STEPS)}", last)
    else:
        assert done.returncode == 3
        assert last.startswith(f"CI: {failing} failed after")
