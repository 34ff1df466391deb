"""dags/constraints-3.3.1-canvas.txt is Airflow's own file with the changes that its head lists, and no others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import compile_constraints
from scripts.compile_constraints import CONSTRAINTS, DEV_CONSTRAINTS, IMAGE, ROOT, read_changes, read_pins

SHARED = ROOT.parent / "shared"
TEXT = CONSTRAINTS.read_text()
NAMES = {compile_constraints.normalized(name): pin for name, pin in read_pins(TEXT).items()}


def test_every_essential_pin_of_mwaa_is_unchanged():
    essential = read_pins((IMAGE / "essential-constraints.txt").read_text())
    assert len(essential) > 20
    known = {name: pin for name, pin in essential.items() if compile_constraints.normalized(name) in NAMES}
    # Airflow's constraints do not pin Airflow itself, nor MWAA's own logger
    assert set(essential) - set(known) == {"apache-airflow", "fluent-logger"}
    assert {name: NAMES[compile_constraints.normalized(name)] for name in known} == known


def test_only_the_listed_packages_differ_from_airflow():
    airflow = compile_constraints.airflow_pins_in(TEXT)
    ours = read_pins(TEXT)
    assert list(airflow) == list(ours)
    differing = {name: (airflow[name], ours[name]) for name in ours if ours[name] != airflow[name]}
    assert differing == {change.name: (change.before, change.after) for change in read_changes(TEXT)}


def test_the_providers_stay_at_the_versions_of_the_image():
    changed = {change.name for change in read_changes(TEXT)}
    assert NAMES["apache-airflow-providers-amazon"] == "9.34.0"
    assert NAMES["apache-airflow-providers-postgres"] == "7.0.1"
    assert not changed & {"apache-airflow-providers-amazon", "apache-airflow-providers-postgres"}


@pytest.mark.parametrize("tampering", ["Flask==3.1.3", "uv==0.12.3"])
def test_a_pin_changed_by_hand_is_noticed(tampering):
    assert f"\n{tampering}\n" in TEXT
    with pytest.raises(SystemExit, match="differs from Airflow's constraints in more than its head lists"):
        compile_constraints.airflow_pins_in(TEXT.replace(f"\n{tampering}\n", f"\n{tampering}.1\n"))


def test_the_committed_files_are_what_the_script_makes():
    constraints = compile_constraints.compile_constraints(compile_constraints.airflow_pins_in(TEXT))
    assert constraints == TEXT
    development = DEV_CONSTRAINTS.read_text()
    assert compile_constraints.compile_dev_constraints(constraints, development) == development


if SHARED.is_dir():  # Airflow's and MWAA's own files lie beside this checkout

    def test_the_recorded_pins_are_those_of_airflow():
        original = (SHARED / "mwaa-3.3.1-airflow-constraints.txt").read_text()
        assert compile_constraints.airflow_pins_in(TEXT) == read_pins(original)

    def test_the_recorded_essential_pins_are_those_of_mwaa():
        original = (SHARED / "mwaa-3.3.1-essential-constraints.txt").read_text()
        assert (IMAGE / "essential-constraints.txt").read_text() == original


def test_development_adds_pins_but_changes_none():
    development = [re.split("[= ;]", line)[0] for line in compile_constraints.requirement_lines(DEV_CONSTRAINTS)]
    assert development
    assert not {compile_constraints.normalized(name) for name in development} & set(NAMES)
    for line in compile_constraints.requirement_lines(ROOT / "requirements-dev.txt"):
        name, _, pin = line.partition("==")
        bare = compile_constraints.normalized(name.split("[")[0])
        assert pin or bare in NAMES, f"{line}: nothing pins it"


def test_without_a_file_of_airflow_there_is_a_sentence(tmp_path: Path):
    command = ["make", "constraints", f"AIRFLOW_CONSTRAINTS={tmp_path}/missing.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "constraints: cannot read" in done.stderr
    assert "Traceback" not in done.stderr
