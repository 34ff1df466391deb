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


LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")


@pytest.mark.parametrize("level", ["ROLE", "DATABASE"])
@pytest.mark.parametrize("pooled", [False, True])
def test_time_limits_of_role_and_database_do_not_end_our_work(
    level: str, pooled: bool, postgres: EmbeddedPostgres, target: DatabaseTarget, tmp_path: Path
) -> None:
    """Also on a connection that is used again, and behind a pooler."""
    role = target.dbname
    with psycopg.connect(postgres.dsn(target.dbname), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'limited-pw'".encode())
        for limit in LIMITS:
            admin.execute(f"ALTER {level} {role} SET {limit} = '77s'".encode())
        look = f"SELECT {' || '.join(f'current_setting({limit!r})' for limit in LIMITS)} AS limits"
        try:
            with pgbouncer(postgres, tmp_path / "bouncer", "session", {role: "limited-pw"}) as port:
                ours = target_of(
                    postgres.dsn(target.dbname), user=role, password="limited-pw", **({"port": port} if pooled else {})
                )

                async def twice() -> list[str]:
                    replica = Replica(ours, 1)
                    rows = [await replica.row(look) for _ in range(2)]
                    await replica.close()
                    return [row["limits"] for row in rows if row]

                assert run(twice()) == ["0000", "0000"]
                assert execute(ours, look) == "0000"
        finally:
            admin.execute(f"ALTER DATABASE {role} RESET ALL".encode())
            admin.execute(f"DROP ROLE {role}".encode())


def test_a_limit_that_the_server_does_not_know_is_no_error(
    target: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transaction_timeout, which is new in PostgreSQL 17."""
    monkeypatch.setattr(sessions, "_BEGIN", sessions._BEGIN.replace("transaction_timeout", "timeout_of_tomorrow"))
    execute(target, f"ALTER DATABASE {target.dbname} SET statement_timeout = '77s'")
    assert execute(target, "SHOW statement_timeout") == "0"


def test_every_time_limit_of_the_server_that_a_session_may_set_is_reset(target: DatabaseTarget) -> None:
    """Those of the network and of replication are none: they end nothing that is going well."""
    other = {"tcp_user_timeout", "wal_sender_timeout"}
    known = execute(
        target, r"SELECT string_agg(name, ' ') FROM pg_settings WHERE name ~ '_timeout$' AND context = 'user'"
    )
    assert set(known.split()) - other <= set(sessions.TIME_LIMITS)
