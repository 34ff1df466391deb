"""A server that wakes up, starts or fails over is waited for; only what cannot get better ends the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cd2.replication.database import connection
from cd2.replication.database.connection import DatabaseTarget, Replica, connect
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from local.postgres import EmbeddedPostgres
from tests.replication.front import error_response, front
from tests.replication.replica import execute, prepare, run, target_of

TargetWith = Callable[..., DatabaseTarget]

NO_ENTRY = 'no pg_hba.conf entry for host "10.0.0.7", user "cd2_replication", database "cd2", no encryption'
ALWAYS = 1000
OF_A_POOLER = "Tenant or user not found"
PASSES = [
    # Aurora at 0 ACU says this while it wakes up, although pg_hba.conf cannot be edited there.
    ("28000", NO_ENTRY),
    ("28000", 'role "cd2_replication" does not exist'),
    ("08P01", "server conn crashed?"),
    ("08006", "connection failure"),
    ("25006", "cannot set transaction read-write mode during recovery"),
    ("53300", "sorry, too many clients already"),
    ("53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute"),
    ("53200", "out of memory"),
    ("55000", 'database "cd2" is not currently accepting connections'),
    ("57P01", "terminating connection due to administrator command"),
    ("57P02", "terminating connection because of crash of another server process"),
    ("57P03", "the database system is starting up"),
    ("57P03", "the database system is not yet accepting connections"),
    ("57P03", "the database system is shutting down"),
    ("58030", "could not read file: Input/output error"),
    ("58P01", "could not open file"),
    ("XX000", "could not fork new process for connection"),
    ("XX000", OF_A_POOLER),
]
LASTS = [
    ("28P01", 'password authentication failed for user "cd2"', StopAll, "check user and password"),
    ("08P01", "SASL authentication failed", StopAll, "check user and password"),
    ("3D000", 'database "cd2" does not exist', StopAll, "check the database name"),
    ("53100", "could not write lock file: No space left on device", StopAll, "disk is full"),
    ("42501", 'permission denied for database "cd2"', TableFailure, "lacks a privilege"),
]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_PAUSES_S", (0.01,))


def failure(target: DatabaseTarget, patience_s: float) -> Cd2Error:
    async def work() -> None:
        await (await connect(target, patience_s)).close()

    with pytest.raises(Cd2Error) as caught:
        run(work())
    return caught.value


@pytest.mark.parametrize(("sqlstate", "text"), PASSES, ids=lambda value: value[:30])
def test_what_passes_is_waited_for(
    postgres: EmbeddedPostgres, target_with: TargetWith, sqlstate: str, text: str
) -> None:
    with front(postgres.port, *[error_response(sqlstate, text)] * 3) as (port, seen):
        assert execute(target_with(port=port), "SELECT 42") == "42"
    assert seen == ["answered"] * 3 + ["forwarded"]


@pytest.mark.parametrize(("sqlstate", "text"), PASSES, ids=lambda value: value[:30])
def test_what_does_not_pass_is_worth_another_try_and_says_where(
    postgres: EmbeddedPostgres, target_with: TargetWith, sqlstate: str, text: str
) -> None:
    answer = error_response(sqlstate, text, source="" if text == OF_A_POOLER else "postinit.c")
    with front(postgres.port, *[answer] * ALWAYS) as (port, seen):
        error = failure(target_with(port=port), 0.1)
    assert type(error) is TransientError
    assert f"127.0.0.1:{port}" in error.message
    assert text in error.message
    assert "will be retried" in error.message
    assert "check user and password" not in error.message
    assert error.type == sqlstate
    assert len(seen) > 1


@pytest.mark.parametrize(("sqlstate", "text", "kind", "told"), LASTS, ids=lambda value: str(value)[:30])
def test_what_cannot_get_better_ends_the_wait(
    postgres: EmbeddedPostgres, target_with: TargetWith, sqlstate: str, text: str, kind: type[Cd2Error], told: str
) -> None:
    with front(postgres.port, *[error_response(sqlstate, text)] * ALWAYS) as (port, seen):
        error = failure(target_with(port=port), 60)
    assert isinstance(error, kind)
    assert told in error.message
    assert seen == ["answered"]


def test_a_connection_that_is_closed_without_a_word_is_opened_again(
    postgres: EmbeddedPostgres, target_with: TargetWith
) -> None:
    with front(postgres.port, None, None) as (port, seen):
        assert execute(target_with(port=port), "SELECT 42") == "42"
    assert seen == ["answered", "answered", "forwarded"]


def test_nobody_waits_longer_than_two_minutes() -> None:
    assert connection.CONNECT_PATIENCE_S == 120


def test_a_file_of_authorities_that_is_not_there_is_told(target_with: TargetWith) -> None:
    error = failure(target_with(sslmode="verify-full", sslrootcert="/nowhere/ca.pem"), 60)
    assert isinstance(error, StopAll)
    assert "/nowhere/ca.pem" in error.message
    assert "database_sslrootcert" in error.message


@pytest.mark.parametrize("level", ["ROLE", "DATABASE"])
def test_a_read_only_session_is_refused_until_it_writes(
    postgres: EmbeddedPostgres, target: DatabaseTarget, level: str
) -> None:
    with psycopg.connect(postgres.dsn(target.dbname), autocommit=True) as admin:
        admin.execute(f'CREATE ROLE "{target.dbname}" LOGIN PASSWORD %s' % "'reader-pw'")
        try:
            ours = target_of(postgres.dsn(target.dbname), user=target.dbname, password="reader-pw")
            admin.execute(f'ALTER {level} "{target.dbname}" SET default_transaction_read_only = on')
            error = failure(ours, 0.1)
            assert type(error) is TransientError
            assert error.type == "25006"
            assert "reset default_transaction_read_only" in error.message

            async def until_it_writes() -> str:
                opening = asyncio.create_task(connect(ours, 60))
                await asyncio.sleep(0.1)
                assert not opening.done()
                execute_late = f'ALTER {level} "{target.dbname}" RESET default_transaction_read_only'
                await asyncio.to_thread(admin.execute, execute_late)
                opened = await opening
                try:
                    return str(await opened.fetchval("SHOW transaction_read_only"))
                finally:
                    await opened.close()

            assert run(until_it_writes()) == "off"
        finally:
            admin.execute("ALTER DATABASE {0} RESET ALL; DROP ROLE {0}".format(f'"{target.dbname}"'))


@pytest.mark.parametrize("pooled", [0, 2])
def test_a_single_statement_that_meets_a_failover_is_run_again_on_a_new_connection(
    target: DatabaseTarget, pooled: int
) -> None:
    execute(target, "CREATE SEQUENCE public.tries")
    execute(
        target,
        """CREATE FUNCTION public.once() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           IF nextval('public.tries') <= 2 THEN RAISE EXCEPTION 'cannot execute INSERT in a read-only transaction'
               USING ERRCODE = '25006'; END IF;
           RETURN pg_backend_pid(); END $$""",
    )

    async def work() -> list[int]:
        replica = Replica(target, pooled)
        before = await replica.row("SELECT pg_backend_pid() AS pid")
        after = await replica.row("SELECT public.once() AS pid")
        await replica.close()
        return [row["pid"] for row in (before, after) if row]

    before, after = run(work())
    assert before != after


def test_tables_that_share_connections_do_not_wait_one_after_the_other(
    target_with: TargetWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    plain = connection.connect

    async def counted(target: DatabaseTarget, patience_s: float | None = None) -> object:
        waits.append(patience_s)
        return await plain(target, 0.05 if patience_s is None else patience_s)

    monkeypatch.setattr(connection, "connect", counted)

    async def work() -> list[object]:
        replica = Replica(target_with(port=1), 2)
        return await asyncio.gather(*(replica.row("SELECT 1") for _ in range(20)), return_exceptions=True)

    assert all(isinstance(error, TransientError) for error in run(work()))
    assert waits.count(None) <= 2
    assert waits.count(0.0) >= 18


@pytest.mark.slow
def test_a_standby_is_waited_for_until_it_is_promoted(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False)
    with server:
        server.create_database("replica")
        target = target_of(server.dsn("replica"))
        prepare(target)
        data = server.data
    (data / "standby.signal").touch()
    with server:
        target = target_of(server.dsn("replica"))
        error = failure(target, 0.1)
        assert type(error) is TransientError
        assert "is a standby" in error.message
        assert "cluster endpoint" in error.message

        async def until_promoted() -> bool:
            opening = asyncio.create_task(connect(target, 60))
            await asyncio.sleep(0.1)
            assert not opening.done()
            await asyncio.to_thread(server.execute, sql.SQL("SELECT pg_promote()"))
            opened = await opening
            try:
                return bool(await opened.fetchval("SELECT pg_is_in_recovery()"))
            finally:
                await opened.close()

        assert run(until_promoted()) is False
