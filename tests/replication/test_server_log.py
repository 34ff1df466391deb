"""What docs/deploy.md sets for the role keeps values of rows out of PostgreSQL's own log."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.replica import make_replicator, run, target_of
from tests.steps import init

DOCUMENT = Path(__file__).parents[2] / "docs" / "deploy.md"
SETTINGS = re.findall(r"(?m)^ALTER ROLE cd2_replication (SET \w+ = \w+);$", DOCUMENT.read_text())


@pytest.fixture
def role(postgres: EmbeddedPostgres, database: str) -> Iterator[str]:
    name = f"loader_{secrets.token_hex(4)}"
    postgres.create_role(name, "loader-pw", "SUPERUSER")
    yield name
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"DROP ROLE {name}".encode())


def quoted(postgres: EmbeddedPostgres, simulator: SimulatorControl, target: DatabaseTarget) -> list[str]:
    """The lines of the server's log that quote the value which a load met."""
    before = len(postgres.log.read_text(errors="replace"))
    simulator.fault("canvas", "pseudonyms", "malformed_value", column="id")
    with pytest.raises(TableFailure):
        run(init(make_replicator(simulator, target), "canvas.pseudonyms"))
    return [line for line in postgres.log.read_text(errors="replace")[before:].splitlines() if "not-a-value" in line]


def test_the_settings_for_the_role_keep_values_out_of_the_servers_log(
    postgres: EmbeddedPostgres, simulator: SimulatorControl, database: str, role: str
) -> None:
    target = target_of(database, user=role, password="loader-pw")
    assert len(SETTINGS) == 2
    kept = []
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        for setting in (None, *SETTINGS):
            if setting:
                admin.execute(f"ALTER ROLE {role} {setting}".encode())
            kept.append([re.search(r"(ERROR|CONTEXT|DETAIL):", line) for line in quoted(postgres, simulator, target)])
    names = [[found.group(1) for found in lines if found] for lines in kept]
    assert names == [["ERROR", "CONTEXT"], ["ERROR"], []]
