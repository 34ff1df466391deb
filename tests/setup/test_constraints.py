"""dags/constraints-3.3.1-canvas.txt is Airflow's own file with the changes that its head lists, and no others."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cd2.tasks.requirements_check import REQUIRED
from scripts import compile_constraints
from scripts.compile_constraints import (
    AIRFLOW_CONSTRAINTS,
    CONSTRAINTS,
    DEV_CONSTRAINTS,
    ESSENTIAL_CONSTRAINTS,
    PROVIDERS,
    ROOT,
    read_pins,
    requirement_lines,
)

PINS = {canonicalize_name(name): pin for name, pin in read_pins(CONSTRAINTS).items()}
REQUIREMENTS = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
# as they are published for this version
ORIGINALS = {
    AIRFLOW_CONSTRAINTS: "bff32ed535a2a0e876e5d6995f4df3a74787e758b32e8c70c300b148b810866a",
    ESSENTIAL_CONSTRAINTS: "0a9f91d1eb0b8e6c29a35fd67cc65a397189756e362f6402a3db9ddfb711884f",
}


def test_every_essential_pin_of_mwaa_is_unchanged() -> None:
    essential = {canonicalize_name(name): pin for name, pin in read_pins(ESSENTIAL_CONSTRAINTS).items()}
    assert len(essential) > 20
    # Airflow's constraints do not pin Airflow itself, nor MWAA's own logger
    assert set(essential) - set(PINS) == {"apache-airflow", "fluent-logger"}
    assert {name: PINS.get(name, pin) for name, pin in essential.items()} == essential


def test_only_the_listed_packages_differ_from_airflow() -> None:
    airflow, ours = read_pins(AIRFLOW_CONSTRAINTS), read_pins(CONSTRAINTS)
    assert list(airflow) == list(ours)
    differing = [f"{name} {airflow[name]} -> {pin}" for name, pin in ours.items() if pin != airflow[name]]
    listed = re.findall(r"(?m)^#   (\S+ \S+ -> \S+): \S.+$", CONSTRAINTS.read_text())
    assert sorted(differing) == sorted(listed)


def test_the_providers_stay_at_the_versions_of_the_image() -> None:
    assert {name: PINS[canonicalize_name(name)] for name in PROVIDERS} == {
        "apache-airflow-providers-amazon": "9.34.0",
        "apache-airflow-providers-postgres": "7.0.1",
    }


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_admits_the_version_that_is_pinned(path: Path) -> None:
    pins = PINS | dict(line.split(" ;")[0].split("==") for line in requirement_lines(DEV_CONSTRAINTS))
    pins |= read_pins(ESSENTIAL_CONSTRAINTS)
    for requirement in map(Requirement, requirement_lines(path)):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_versions_that_a_worker_is_checked_for_are_those_that_mwaa_installs() -> None:
    client = re.search(r"(?m)^instructure-dap-client\S*==(\S+)$", (ROOT / "requirements.txt").read_text())
    assert client
    assert {name: PINS.get(canonicalize_name(name), client[1]) for name in REQUIRED} == REQUIRED


def test_development_adds_pins_but_changes_none() -> None:
    development = {canonicalize_name(re.split("[= ;]", line)[0]) for line in requirement_lines(DEV_CONSTRAINTS)}
    assert development
    assert not development & set(PINS)


@pytest.mark.slow
def test_the_committed_files_are_what_the_script_makes() -> None:
    constraints = compile_constraints.compile_constraints()
    assert constraints == CONSTRAINTS.read_text()
    assert compile_constraints.compile_dev_constraints(constraints) == DEV_CONSTRAINTS.read_text()


@pytest.mark.slow
def test_requirements_without_a_common_solution_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = CONSTRAINTS.read_text()
    monkeypatch.setattr(compile_constraints, "MWAA_PYTHON", ("--python-version", "3.6"))
    with pytest.raises(SystemExit, match="constraints: no set of versions satisfies requirements"):
        compile_constraints.main()
    assert CONSTRAINTS.read_text() == before


@pytest.mark.parametrize(("path", "digest"), ORIGINALS.items(), ids=lambda value: getattr(value, "name", ""))
def test_the_files_of_airflow_and_of_mwaa_are_the_originals(path: Path, digest: str) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
