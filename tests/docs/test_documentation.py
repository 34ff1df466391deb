"""The documentation names only what there is: files, headings, commands, options, settings, SQL."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import botocore.session
import psycopg
import pytest
from airflow.dag_processing.dagbag import DagBag
from botocore.exceptions import UnknownServiceError

from tests.docs.markdown import REPOSITORY, Command, anchors, blocks, commands, documents, links, name

DOCUMENTS = documents()
COMMANDS = [command for document in DOCUMENTS for command in commands(document)]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
PLACEHOLDER = re.compile(r"[A-Z_]{2,}|\.\.\.|<.*>")
FOUND_ON_ANY_MACHINE = {"cd", "export", "git", "unzip", "psql", "sha256sum", "cmp", "read"}


def test_the_documentation_is_found() -> None:
    assert {"README.md", "CHANGELOG.md", "docs/operations.md"} <= {name(document) for document in DOCUMENTS}
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = []
    for target in links(document):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_fenced_blocks_say_what_they_are(document: Path) -> None:
    """Commands stand in `sh` blocks, so that they are checked."""
    fences = re.findall(r"(?m)^```(\w*)$", document.read_text())
    assert set(fences[::2]) <= {"sh", "console", "text", "mermaid", "sql", "json", "hcl", "python", "ini"}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_exists_and_takes_these_options(command: Command) -> None:
    program, *arguments = command.words
    check = CHECKS.get(Path(program).name)
    if program in FOUND_ON_ANY_MACHINE:
        return
    if check is None:
        assert os.access(REPOSITORY / program, os.X_OK), f"no such program of ours, and no check for it: {program}"
        return
    check(arguments)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "sql")], ids=name)
def test_sql_runs_on_a_prepared_database(document: Path, prepared_database: str) -> None:
    with psycopg.connect(prepared_database) as connection:
        for block in blocks(document, "sql"):
            connection.execute(block.encode())


# -- what is true of each program ------------------------------------------------------------------


def _make(arguments: list[str]) -> None:
    for argument in arguments:
        variable, is_set, _ = argument.partition("=")
        if is_set:
            assert re.search(rf"\b{variable}\b", MAKEFILE), f"the Makefile does not know {variable}"
        elif not argument.startswith("-"):
            assert re.search(rf"(?m)^{re.escape(argument)}:", MAKEFILE), f"no target {argument}"


def _python(arguments: list[str]) -> None:
    assert arguments[0] == "-m"
    module, *options = arguments[1:]
    assert importlib.util.find_spec(module), f"no module {module}"
    _takes_options(module, options)


def _takes_options(module: str, options: list[str]) -> None:
    known = _help_of(module)
    for option in options:
        if option.startswith("--"):
            assert option.split("=")[0] in known, f"{module} has no option {option}"


@cache
def _help_of(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def _dap(arguments: list[str]) -> None:
    assert {"list", "syncdb", "initdb", "snapshot", "schema"} & set(arguments)


def _airflow(arguments: list[str]) -> None:
    assert arguments[:3] == ["dags", "trigger", "canvas_data_2"]
    _is_taken_by_the_form(json.loads(arguments[arguments.index("--conf") + 1]))


def _is_taken_by_the_form(conf: dict[str, object]) -> None:
    params = DagBag(REPOSITORY / "dags").dags["canvas_data_2"].params
    for key, value in conf.items():
        params.get_param(key).resolve(value)


def _aws(arguments: list[str]) -> None:
    """Service, operation and options, as the SDK's own model has them."""
    service, operation, *rest = arguments
    if service in ("s3", "sts", "configure", "sso") and operation in ("cp", "ls", "sync", "login", "list"):
        return
    try:
        model = botocore.session.get_session().get_service_model(service)
    except UnknownServiceError:
        pytest.fail(f"AWS has no service {service}")
    camel = {botocore.xform_name(n).replace("_", "-"): n for n in model.operation_names}
    assert operation in camel, f"{service} has no operation {operation}"
    shape = model.operation_model(camel[operation]).input_shape
    members = {botocore.xform_name(m).replace("_", "-") for m in (shape.members if shape else {})}
    for option in rest:
        if option.startswith("--") and option not in ("--region", "--query", "--output", "--profile", "--follow"):
            plain = option[2:].removeprefix("no-")
            assert plain in members, f"aws {service} {operation} has no option {option}"
    if operation == "invoke-rest-api" and "--body" in rest:
        body = rest[rest.index("--body") + 1]
        if not PLACEHOLDER.fullmatch(body):
            conf = json.loads(body).get("conf")
            _is_taken_by_the_form(conf or {})


def _terraform(arguments: list[str]) -> None:
    for argument in arguments:
        if argument.startswith("-chdir="):
            assert (REPOSITORY / argument.removeprefix("-chdir=")).is_dir()
    operations = [argument for argument in arguments if not argument.startswith("-")]
    assert operations[0] in ("init", "plan", "apply", "destroy", "output", "validate", "test", "fmt", "state", "import")


def _docker(arguments: list[str]) -> None:
    assert arguments[0] == "compose"
    composed = (REPOSITORY / "docker-compose.yaml").read_text()
    for option, value in pairwise(arguments):
        if option == "--profile":
            assert value in composed, f"docker-compose.yaml has no profile {value}"


def _cp(arguments: list[str]) -> None:
    for source in arguments[:-1]:
        assert (REPOSITORY / source).exists()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": _make,
    "python": _python,
    "python3": _python,
    "dap": _dap,
    "airflow": _airflow,
    "aws": _aws,
    "terraform": _terraform,
    "docker": _docker,
    "cp": _cp,
}
