"""A password or key that was changed a moment ago stops nothing: whoever is refused looks it up once more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import RefusedCredentials, StopAll
from cd2.replication.replicator import Replicator
from cd2.tasks import credentials
from cd2.tasks.credentials import with_credentials
from cd2.tasks.finding import Found
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.replica import NO_PACE, credentials_of, execute, run, target_of
from tests.replication.triggerer import Triggerer
from tests.steps import init

TABLES = ["canvas.roles", "canvas.users"]
OLD, NEW = "old-pw-1", "new-pw-2"


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens before the second look; nothing, at once."""
    between: list[Callable[[], object]] = []
    monkeypatch.setattr(credentials, "SECOND_LOOK_S", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: [act() for act in between])
    return between


@pytest.fixture
def loader(postgres: EmbeddedPostgres, database: str, target: DatabaseTarget) -> Iterator[str]:
    """A role with the old password that may do everything here."""
    role = f"loader_{target.dbname}"
    postgres.execute(
        sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(role), sql.Literal(OLD))
    )
    yield role
    postgres.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def rotate(target: DatabaseTarget, role: str) -> None:
    """As a rotation in the database does: the new password counts, open sessions end."""
    execute(target, f"ALTER ROLE {role} PASSWORD '{NEW}'")
    execute(target, f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{role}'")


def test_a_triggerer_that_has_the_old_database_password_goes_on_with_the_new_one(
    loader: str,
    simulator: SimulatorControl,
    replicator: Replicator,
    database: str,
    target: DatabaseTarget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for table in TABLES:
        run(init(replicator, table))
    secret = {"password": OLD}
    made: list[Replicator] = []

    def make() -> Replicator:
        made.append(
            Replicator(credentials_of(simulator), target_of(database, user=loader, **secret), NO_PACE, pooled=2)
        )
        return made[-1]

    async def both() -> list[Found]:
        triggerer = Triggerer(make, TABLES, monkeypatch)
        first = await triggerer.wait(0)
        secret["password"] = NEW
        await asyncio.to_thread(rotate, target, loader)
        rest = await asyncio.gather(*(triggerer.wait(1) for _ in range(5)))
        for one in made:
            await one.close()
        return [first, *rest]

    assert [found.error for found in run(both())] == [None] * 6
    assert len(made) == 2
    assert execute(target, "SELECT count(*) FROM cd2.stops") == "0"


def test_a_triggerer_that_has_the_old_dap_key_goes_on_with_the_new_one(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(init(replicator, TABLES[0]))
    right = credentials_of(simulator)
    keys = [DapCredentials(right.base_url, right.client_id, "old-secret"), right]
    made: list[Replicator] = []

    def make() -> Replicator:
        made.append(Replicator(keys[min(len(made), 1)], target, NO_PACE, pooled=2))
        return made[-1]

    async def wait() -> Found:
        found = await Triggerer(make, TABLES, monkeypatch).wait(0)
        for one in made:
            await one.close()
        return found

    assert run(wait()).job_id
    assert len(made) == 2
    assert execute(target, "SELECT count(*) FROM cd2.stops") == "0"


def test_credentials_that_stay_refused_stop_the_run_after_one_more_look(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(init(replicator, TABLES[0]))
    right = credentials_of(simulator)
    made: list[Replicator] = []

    def make() -> Replicator:
        made.append(Replicator(DapCredentials(right.base_url, right.client_id, "no-secret"), target, NO_PACE, pooled=2))
        return made[-1]

    async def wait() -> Found:
        found = await Triggerer(make, TABLES, monkeypatch).wait(0)
        for one in made:
            await one.close()
        return found

    error = run(wait()).error
    assert isinstance(error, StopAll)
    assert "refused the credentials" in error.message
    assert len(made) == 2
    assert execute(target, "SELECT count(*) FROM cd2.stops") == "1"


@pytest.mark.parametrize("which", ["CD2_POSTGRES", "CD2_DAP"])
def test_a_task_that_began_with_the_old_one_goes_on_with_the_new_one(
    which: str,
    looks: list[Callable[[], object]],
    simulator: SimulatorControl,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, where = credentials_of(simulator), target_of(database)
    right: dict[str, dict[str, object]] = {
        "CD2_DAP": {
            "conn_type": "http",
            "host": key.base_url,
            "login": key.client_id,
            "password": key.client_secret,
        },
        "CD2_POSTGRES": {
            "conn_type": "postgres",
            "host": where.host,
            "port": where.port,
            "schema": where.dbname,
            "login": where.user,
            "password": where.password,
            "extra": {"sslmode": "disable"},
        },
    }
    for name, connection in right.items():
        outdated = connection | ({"password": "old-pw"} if name == which else {})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(outdated))
    with pytest.raises(RefusedCredentials):
        with_credentials(lambda replicator: replicator.list_tables("canvas"))
    looks.append(lambda: monkeypatch.setenv(f"AIRFLOW_CONN_{which}", json.dumps(right[which])))
    tables = with_credentials(lambda replicator: replicator.list_tables("canvas"))
    assert "canvas.users" in [str(table) for table in tables]
