"""checkov finds nothing in infra/terraform, or an exception is justified where it is made."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.plan import FOLDER, clean_environment
from tests.infra.tools import installed

pytestmark = pytest.mark.infra

VERSION = "3.3.30"


def checked(folder: Path) -> dict[str, Any]:
    """What checkov says of a folder, without asking anybody."""
    arguments = ["--framework", "terraform", "--skip-download", "--quiet", "--output", "json", "--soft-fail"]
    done = subprocess.run(
        [installed("checkov", VERSION) / "checkov", "--directory", folder, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it says of ours, and of a mistake beside it; starting it takes longest."""
    folder = tmp_path_factory.mktemp("checkov")
    shutil.copytree(FOLDER, folder / "ours", ignore=shutil.ignore_patterns(".terraform*"))
    (folder / "mistake.tf").write_text(
        'resource "aws_vpc_security_group_ingress_rule" "open" {\n'
        '  security_group_id = "sg-1"\n  ip_protocol = "tcp"\n  from_port = 22\n  to_port = 22\n'
        '  cidr_ipv4 = "0.0.0.0/0"\n}\n'
    )
    return checked(folder)


def failed(found: dict[str, Any], *, ours: bool) -> set[str]:
    checks = found["results"]["failed_checks"]
    return {
        f"{each['check_id']} {each['resource']}: {each['check_name']}"
        for each in checks
        if each["file_path"].startswith("/ours/") is ours
    }


def test_checkov_finds_nothing(found: dict[str, Any]) -> None:
    assert failed(found, ours=True) == set()
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 80


def test_it_would_find_something(found: dict[str, Any]) -> None:
    assert any(each.startswith("CKV_AWS_24 ") for each in failed(found, ours=False))


def test_every_exception_is_justified_where_it_is_made() -> None:
    exceptions = [
        (path.name, line.strip())
        for path in FOLDER.rglob("*.tf")
        for line in path.read_text().splitlines()
        if "checkov:" in line
    ]
    assert exceptions
    for file, line in exceptions:
        assert re.fullmatch(r"#checkov:skip=CKV2?_AWS_\d+:\S.{30,}", line), f"{file}: {line}"
    assert not list(FOLDER.rglob(".checkov*")), "an exception for all would hide the next"
