"""What a person may set for the local stack, and what is said about a wrong value."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.airflow import environment
from local.command.given import check_variables
from local.errors import LocalStackError
from local.settings import REPOSITORY, Options
from local.simulator.catalogue import NAMESPACES
from local.stack.folder import Folder

TABLES = ["canvas.users", "canvas.courses", "canvas.course_sections", "canvas_logs.web_logs", "catalog.users"]


def test_without_any_setting_everything_is_wanted_fast() -> None:
    options = Options.from_environment({})
    assert options.namespaces == NAMESPACES
    assert options.wanted(TABLES) == sorted(TABLES)
    assert options.job_creations_per_minute > 1000


def test_real_pace_is_the_documented_one() -> None:
    assert Options.from_environment({"PACE": "real"}).job_creations_per_minute == 5


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("users", ["canvas.users", "catalog.users"]),
        ("cour*", ["canvas.course_sections", "canvas.courses"]),
        ("catalog.*, web_logs", ["canvas_logs.web_logs", "catalog.users"]),
    ],
)
def test_tables_are_chosen_by_name_and_wildcard(chosen: str, expected: list[str]) -> None:
    assert Options.from_environment({"TABLES": chosen}).wanted(TABLES) == expected


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"TABLES": "usres"}, "no table is called 'usres'; did you mean users"),
        ({"TABLES": "zzz"}, "no table is called 'zzz'; there are: .*web_logs"),
        ({"TABLES": "web_logs", "NAMESPACES": "canvas"}, "no table is called 'web_logs'"),
    ],
)
def test_a_table_that_does_not_exist_is_named_with_what_there_is(environment: dict[str, str], sentence: str) -> None:
    options = Options.from_environment(environment)
    with pytest.raises(LocalStackError, match=sentence):
        options.wanted(TABLES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROWS", "many"), ("ROWS", "0"), ("ROWS", "-5"), ("ROWS", "1.5"), ("ROWS", "٣"), ("PORT", "0"),
        ("PORT", "70000"),
        ("PACE", "slow"), ("NAMESPACES", "canvas,canvs"), ("CHECK", "perhaps"), ("FULL_REFRESH", "2"),
        ("VERIFY", "all"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(LocalStackError, match=rf"{name}=.*"):
        Options.from_environment({name: value})


def test_ports_are_kept_and_differ(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.choose_ports(None)
    ports = folder.config()["ports"]
    assert len(set(ports.values())) == len(ports)
    folder.choose_ports(None)
    assert folder.config()["ports"] == ports


def test_what_is_remembered_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    secret = folder.secret("airflow_admin")
    assert folder.secret("airflow_admin") == secret
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0]


def test_programs_cache_bytecode_beside_the_packages_whatever_our_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr("sys.pycache_prefix", None)
    variables = environment.base()
    assert "PYTHONDONTWRITEBYTECODE" not in variables
    assert variables["PYTHONPYCACHEPREFIX"].startswith(sys.prefix)
    asked = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.split() == ["False", variables["PYTHONPYCACHEPREFIX"]]


def test_a_cache_of_bytecode_that_a_person_chose_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/elsewhere")
    monkeypatch.setattr("sys.pycache_prefix", "/elsewhere")
    assert environment.base()["PYTHONPYCACHEPREFIX"] == "/elsewhere"


@pytest.mark.parametrize(
    ("target", "given", "told"),
    [
        ("run", "TABEL=users", "make run does not read TABEL; did you mean TABLES?"),
        ("up", "TABLES=users", "make up does not read TABLES; it reads PACE, PORT, ROWS."),
        ("psql", "ARG=-l", "make psql does not read ARG; did you mean ARGS?"),
        ("psql", "TABLES=users", "make psql does not read TABLES; it reads ARGS."),
        ("status", "PORT=8080", "make status does not read PORT, or any variable."),
    ],
)
def test_a_variable_that_does_nothing_is_refused_with_the_right_spelling(target: str, given: str, told: str) -> None:
    ended = subprocess.run(["make", target, given], cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.stderr.splitlines()[0] == f"Error: {told}"
    assert ended.returncode


def test_an_address_with_its_password_is_refused_as_an_argument() -> None:
    with pytest.raises(LocalStackError, match=r"visible to everybody \(ps\): CD2_DSN=... make dictionary") as caught:
        check_variables("dictionary", {"MAKEFLAGS": "w -- OUT=canvas.html CD2_DSN=postgresql://a:secret@db/canvas"})
    assert "secret" not in str(caught.value)


def test_what_a_target_reads_is_not_refused() -> None:
    check_variables("run", {"MAKEFLAGS": r"w --no-print-directory -- TABLES=users,cour* ARGS\ not=1 PYTHON=python3.12"})
    check_variables("run", {"MAKEFLAGS": "s"})
    for target in ("up", "serve"):  # make up starts the other, which inherits MAKEFLAGS
        check_variables(target, {"MAKEFLAGS": " -- PORT=8080 ROWS=10 PACE=real"})
