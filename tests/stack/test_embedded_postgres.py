"""The embedded PostgreSQL: starts anywhere, keeps its data, survives being killed."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from local.errors import LocalStackError
from local.postgres import EmbeddedPostgres
from local.postgres.unprivileged import AsNobody
from local.processes.families import is_alive
from local.settings import REPOSITORY
from tests.stack.programs import eventually

OWNER = """
import sys, time
from pathlib import Path
from psycopg.sql import SQL
from local.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
server.start()
server.execute(SQL("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id"))
print(server.pid, flush=True)
time.sleep(600)
"""


def count(server: EmbeddedPostgres) -> int:
    return int(server.execute(sql.SQL("SELECT count(*) FROM kept"))[0][0])


def fill(server: EmbeddedPostgres) -> None:
    server.execute(sql.SQL("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id"))


def test_data_port_and_password_are_the_same_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        fill(server)
        before = server.dsn()
    with EmbeddedPostgres(tmp_path) as server:
        assert server.dsn() == before
        assert count(server) == 1000


def test_it_recovers_from_kill_9(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False)
    server.start()
    fill(server)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with EmbeddedPostgres(tmp_path, durable=False) as again:
        assert count(again) == 1000


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_it(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        pid_file = server.data / "postmaster.pid"
        text = pid_file.read_text()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        pid_file.write_text(text.replace(text.split()[0], str(stranger.pid), 1))
        with EmbeddedPostgres(tmp_path, durable=False) as again:
            assert again.running
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_it_ends_with_its_owner_and_the_next_one_goes_on_with_its_data(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    try:
        assert owner.stdout is not None
        orphan = psutil.Process(int(owner.stdout.readline()))
        server = EmbeddedPostgres(tmp_path, durable=False)
        with pytest.raises(LocalStackError, match=rf"in use by a PostgreSQL server \(process {owner.pid}\)"):
            server.start()
        owner.kill()
        owner.wait()
        assert eventually(lambda: not is_alive(orphan))
        with server:
            assert server.pid != orphan.pid
            assert count(server) == 1000
    finally:
        owner.kill()
        owner.communicate()


def test_a_fixed_port_in_use_is_one_sentence_and_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = EmbeddedPostgres(tmp_path, port=port)
        with pytest.raises(LocalStackError, match=f"Port {port} is in use by another program"):
            server.start()
    assert not server.running
    with server:
        assert server.port == port


def test_the_reason_of_a_server_that_cannot_start_is_told(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        configuration = server.data / "postgresql.conf"
    configuration.write_text(configuration.read_text() + "\nno_such_setting = on\n")
    with pytest.raises(LocalStackError, match="no_such_setting"):
        server.start()
    assert not server.running


def test_a_role_has_its_password_and_no_other(postgres: EmbeddedPostgres, database: str) -> None:
    name = database.rsplit("/", 1)[1]
    postgres.create_role("reader", 'it\'s a "secret"')
    dsn = postgres.dsn(name, "reader", 'it\'s a "secret"')
    assert psycopg.connect(dsn).execute("SELECT current_user").fetchone() == ("reader",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(name, "reader", "wrong"))


def test_no_password_is_among_the_arguments_of_its_processes(postgres: EmbeddedPostgres) -> None:
    server = psutil.Process(postgres.pid)
    arguments = [" ".join(server.cmdline())]
    for process in server.children(recursive=True):
        # A worker of autovacuum may just have ended.
        with contextlib.suppress(psutil.NoSuchProcess):
            arguments.append(" ".join(process.cmdline()))
    assert len(arguments) > 3
    assert not [text for text in arguments if postgres.password in text]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_where_user_namespaces_are_forbidden_it_runs_as_nobody(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres", durable=False, launcher=AsNobody())
    try:
        with server:
            assert psutil.Process(server.pid).uids().real == 65534
            assert str(server.data.parent) in str(server.notice)
            fill(server)
        with server:
            assert count(server) == 1000
    finally:
        shutil.rmtree(server.data.parent, ignore_errors=True)
