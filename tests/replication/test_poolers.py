"""Behind the real PgBouncer: session mode works, and the other modes are refused; foreign time limits do not count."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from cd2.replication.database import sessions
from cd2.replication.database.connection import DatabaseTarget, Replica, connect
from cd2.replication.errors import RefusedCredentials, StopAll
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.pgbouncer import pgbouncer
from tests.replication.replica import assert_equal, execute, make_replicator, prepare, run, target_of
from tests.steps import init, sync


def users(postgres: EmbeddedPostgres) -> dict[str, str]:
    return {postgres.superuser: postgres.password}


def through(database: str, port: int, **changes: object) -> DatabaseTarget:
    return target_of(database, port=port, **changes)


async def opened_and_closed(target: DatabaseTarget) -> None:
    await (await connect(target, 0)).close()


@pytest.mark.parametrize("size", [1, 2, 20])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("more", ["", "server_round_robin = 1", "server_reset_query_always = 1"])
def test_a_pooler_that_does_not_keep_the_session_is_refused(
    mode: str, size: int, more: str, postgres: EmbeddedPostgres, database: str, tmp_path: Path
) -> None:
    with pgbouncer(postgres, tmp_path / "bouncer", mode, users(postgres), size, more) as port:
        for _ in range(3):
            with pytest.raises(StopAll, match=r"pool_mode = transaction.*Use its session mode") as caught:
                run(opened_and_closed(through(database, port)))
            assert f"127.0.0.1:{port}" in caught.value.message


def test_a_busy_pooler_that_does_not_keep_the_session_is_refused(
    postgres: EmbeddedPostgres, database: str, tmp_path: Path
) -> None:
    """The sessions that the two connections get vary with what others do."""

    async def others(port: int, until: asyncio.Event) -> None:
        async def one(number: int) -> None:
            with psycopg.connect(target_dsn(database, port), autocommit=True, prepare_threshold=None) as other:
                while not until.is_set():
                    await asyncio.to_thread(other.execute, f"SELECT pg_sleep(0.00{number})")

        await asyncio.gather(*(one(number) for number in range(1, 4)))

    async def work(port: int) -> list[BaseException | None]:
        until = asyncio.Event()
        busy = asyncio.create_task(others(port, until))
        outcomes: list[BaseException | None] = []
        for _ in range(10):
            try:
                await opened_and_closed(through(database, port))
            except StopAll as refused:
                outcomes.append(refused)
            else:
                outcomes.append(None)
        until.set()
        await busy
        return outcomes

    with pgbouncer(postgres, tmp_path / "bouncer", "transaction", users(postgres), 20) as port:
        assert all(isinstance(outcome, StopAll) for outcome in run(work(port)))


def target_dsn(database: str, port: int) -> str:
    return psycopg.conninfo.make_conninfo(database, port=port)


def test_session_mode_works(
    simulator: SimulatorControl, postgres: EmbeddedPostgres, empty_database: str, tmp_path: Path
) -> None:
    with pgbouncer(postgres, tmp_path / "bouncer", "session", users(postgres)) as port:
        target = through(empty_database, port)
        prepare(target)
        replicator = make_replicator(simulator, target)
        assert run(init(replicator, "canvas.users")).state == "initialized"
        simulator.advance(0.5, ["canvas.users"])
        assert run(sync(replicator, "canvas.users")).state == "complete"
    assert_equal(simulator, empty_database, "canvas.users")


def test_session_mode_with_one_session_left_works(
    postgres: EmbeddedPostgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "POOLER_CHECK_S", 0.5)
    with pgbouncer(postgres, tmp_path / "bouncer", "session", users(postgres), 1) as port:
        assert execute(through(database, port), "SELECT 42") == "42"
        assert execute(through(database, port), "SELECT 43") == "43"


@pytest.mark.parametrize("user", [{"password": "wrong"}, {"user": "nobody-here"}])
def test_a_pooler_that_refuses_the_login_is_no_lost_connection(
    user: dict[str, str], postgres: EmbeddedPostgres, database: str, tmp_path: Path
) -> None:
    with (
        pgbouncer(postgres, tmp_path / "bouncer", "session", users(postgres)) as port,
        pytest.raises(RefusedCredentials, match="check user and password"),
    ):
        run(opened_and_closed(through(database, port, **user)))


LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
)
"""Not every server knows all of them."""
LIMIT = "77s"
LEVELS = {
    "role": "ROLE {role}",
    "database": "DATABASE {database}",
    "role in a database": "ROLE {role} IN DATABASE {database}",
    "all roles in a database": "ROLE ALL IN DATABASE {database}",
}


def known_limits(target: DatabaseTarget) -> list[str]:
    found = execute(target, f"SELECT string_agg(name, ' ') FROM pg_settings WHERE name = ANY (ARRAY{list(LIMITS)})")
    return found.split()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("pooled", [False, True])
def test_time_limits_of_role_and_database_do_not_end_our_work(
    level: str, pooled: bool, postgres: EmbeddedPostgres, target: DatabaseTarget, tmp_path: Path
) -> None:
    """Also on a connection that is used again, and behind a pooler; the role may do nothing that others may not."""
    role = target.dbname
    limits = known_limits(target)
    assert len(limits) >= 4
    with psycopg.connect(postgres.dsn(target.dbname), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'limited-pw'".encode())
        whose = LEVELS[level].format(role=role, database=target.dbname)
        for limit in limits:
            admin.execute(f"ALTER {whose} SET {limit} = '{LIMIT}'".encode())
        look = f"SELECT {' || '.join(f'current_setting({limit!r})' for limit in limits)} AS limits"
        try:
            with pgbouncer(postgres, tmp_path / "bouncer", "session", {role: "limited-pw"}) as port:
                dsn = postgres.dsn(target.dbname)
                ours = target_of(dsn, user=role, password="limited-pw", **({"port": port} if pooled else {}))
                with psycopg.connect(psycopg.conninfo.make_conninfo(dsn, user=role, password="limited-pw")) as plain:
                    found = plain.execute(look.encode()).fetchone()
                assert found == (LIMIT * len(limits),)

                async def twice() -> list[str]:
                    replica = Replica(ours, 1)
                    rows = [await replica.row(look) for _ in range(2)]
                    await replica.close()
                    return [row["limits"] for row in rows if row]

                assert run(twice()) == ["0" * len(limits)] * 2
                assert execute(ours, look) == "0" * len(limits)
        finally:
            admin.execute(f"ALTER {whose} RESET ALL".encode())
            admin.execute(f"DROP ROLE {role}".encode())


def test_time_limits_in_the_environment_do_not_end_our_work(
    target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As libpq's programs take them from there."""
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=77s -c lock_timeout=77s")
    assert execute(target, "SELECT current_setting('statement_timeout') || current_setting('lock_timeout')") == "00"


def test_every_time_limit_of_the_server_that_a_session_may_set_is_reset(target: DatabaseTarget) -> None:
    """Those of the network and of replication are none: they end nothing that is going well."""
    others = {"tcp_user_timeout", "wal_sender_timeout"}
    known = execute(
        target, r"SELECT string_agg(name, ' ') FROM pg_settings WHERE name ~ '_timeout$' AND context = 'user'"
    )
    limits = set(known.split()) - others
    assert limits == set(known_limits(target))
    for limit in sorted(set(known.split())):
        execute(target, f"ALTER DATABASE {target.dbname} SET {limit} = '{LIMIT}'")
    left = execute(
        target,
        f"SELECT coalesce(string_agg(name, ' '), '') FROM pg_settings WHERE name = ANY (ARRAY{sorted(limits)}) "
        "AND setting <> '0'",
    )
    assert left == ""
