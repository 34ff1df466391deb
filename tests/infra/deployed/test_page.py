"""No command of docs/deploy.md is passed over by the walk."""

from __future__ import annotations

import re
import shlex

import psycopg.conninfo
import pytest

from local.settings import REPOSITORY
from tests.infra.deployed.page import NOT_TYPED, TYPED, UnlistedError, steps

pytestmark = pytest.mark.infra

PAGE = (REPOSITORY / "docs" / "deploy.md").read_text()


def test_every_command_of_the_page_is_typed_or_has_a_reason() -> None:
    typed = [step.command for step in steps(PAGE)]
    for step in TYPED.values():
        assert typed.count(step.command) == 1, step.command
    assert len(typed) >= 30


def test_every_reason_is_for_a_command_of_the_page() -> None:
    for command in [*NOT_TYPED, *TYPED]:
        assert f"`{command}" in PAGE or re.search(rf"(?m)^{re.escape(command)}", PAGE), command


@pytest.mark.parametrize(
    "text",
    [
        "Then `make fly ENV=dev`.",
        "Or `aws rds reboot-db-cluster`.",
        "With `SPEED=11` it is faster.",
        "`--faster`",
        "```sh\nmake fly ENV=dev\n```\n",
        "```sh\naws s3 ls \\\n    s3://bucket\n```\n",
        "```text\nDROP ROLE somebody;\n```\n",
        "`GRANT ALL TO somebody`",
    ],
)
def test_a_command_that_nobody_listed_is_noticed(text: str) -> None:
    with pytest.raises(UnlistedError, match="put it into TYPED or NOT_TYPED"):
        steps(f"{PAGE}\n{text}\n")


def test_the_connection_through_a_forwarded_port_is_one_that_psql_understands() -> None:
    (line,) = re.findall(r"(?m)^psql .+$", PAGE)
    program, argument = shlex.split(line)
    settings = psycopg.conninfo.conninfo_to_dict(argument)
    assert (program, settings["sslmode"], settings["hostaddr"]) == ("psql", "verify-full", "127.0.0.1")
    assert (REPOSITORY / str(settings["sslrootcert"])).is_file()
