"""prepare_database gives a real PostgreSQL what the replication needs, through the Data API."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.infra.aurora import PASSWORD, Aurora, lines, put_secret
from tests.replication.replica import assert_equal, execute, make_replicator, prepare, run, target_of
from tests.replication.simulators import NO_LIMITS, simulator_process
from tests.steps import init, sync

pytestmark = pytest.mark.infra


def test_everything_is_made_and_a_second_time_nothing_changes(
    aurora: Aurora, capsys: pytest.CaptureFixture[str]
) -> None:
    aurora.prepare("--namespaces", "canvas,catalog")
    first = capsys.readouterr().out
    assert lines(first, "changed") == [
        f"role {aurora.user}: created",
        f"password of {aurora.user}: set to that in its secret",
        f"CREATE on the database {aurora.database} for {aurora.user}",
        f"schema instructure_dap: created, owned by {aurora.user}",
        f"schema cd2: created, owned by {aurora.user}",
        f"schema canvas: created, owned by {aurora.user}",
        f"schema catalog: created, owned by {aurora.user}",
    ]
    aurora.prepare("--namespaces", "canvas,catalog")
    second = capsys.readouterr().out
    assert lines(second, "changed") == []
    assert second.splitlines()[-1] == "Nothing to change: 8 already right."
    with psycopg.connect(aurora.dsn(aurora.user, PASSWORD)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (aurora.user,)


def test_the_replication_works_with_this_user_and_no_other_right(aurora: Aurora, tmp_path: Path) -> None:
    aurora.prepare("--namespaces", "canvas,catalog,canvas_logs,new_quizzes")
    dsn = aurora.dsn(aurora.user, PASSWORD)
    target = target_of(dsn, user=aurora.user, password=PASSWORD)
    with simulator_process(tmp_path, "--rows", "40", *NO_LIMITS) as simulator:
        prepare(target)
        replicator = make_replicator(simulator, target)
        for table in ("users", "roles"):
            assert run(init(replicator, f"canvas.{table}")).state == "initialized"
        simulator.advance(0.5, ["canvas.users"])
        assert run(sync(replicator, "canvas.users")).state == "complete"
        assert_equal(simulator, dsn, "canvas.users", "canvas.roles")


def test_a_namespace_that_is_added_later_needs_no_administrator(aurora: Aurora) -> None:
    """CREATE on the database is what prepare_database of the DAG needs for it."""
    aurora.prepare("--namespaces", "canvas")
    target = target_of(aurora.dsn(aurora.user, PASSWORD), user=aurora.user, password=PASSWORD)
    execute(target, "CREATE SCHEMA new_quizzes")
    aurora.sql(f'REVOKE CREATE ON DATABASE "{aurora.database}" FROM "{aurora.user}"')
    with pytest.raises(Exception, match="permission denied for database"):
        execute(target, "CREATE SCHEMA catalog")


def test_a_dry_run_tells_the_same_and_changes_nothing(aurora: Aurora, capsys: pytest.CaptureFixture[str]) -> None:
    everything = ("--namespaces", "canvas,catalog", "--reader", f"readers_{aurora.user}")
    before = aurora.sql("SELECT rolname FROM pg_roles UNION SELECT nspname FROM pg_namespace ORDER BY 1")
    aurora.prepare(*everything, "--dry-run")
    planned = capsys.readouterr().out
    assert aurora.sql("SELECT rolname FROM pg_roles UNION SELECT nspname FROM pg_namespace ORDER BY 1") == before
    aurora.prepare(*everything)
    done = capsys.readouterr().out
    assert lines(planned, "would") == lines(done, "changed")
    assert "Dry run: 13 changes to make" in planned
    aurora.prepare(*everything, "--dry-run")
    assert "Nothing to change" in capsys.readouterr().out


def test_another_password_in_the_secret_is_set_and_the_old_one_ends(
    aurora: Aurora, capsys: pytest.CaptureFixture[str]
) -> None:
    aurora.prepare()
    put_secret(aurora.user, host="h", dbname=aurora.database, username=aurora.user, password="another one")
    capsys.readouterr()
    aurora.prepare()
    assert lines(capsys.readouterr().out, "changed") == [f"password of {aurora.user}: set to that in its secret"]
    psycopg.connect(aurora.dsn(aurora.user, "another one")).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(aurora.dsn(aurora.user, PASSWORD))


def test_the_password_is_neither_in_the_output_nor_in_a_statement_nor_in_the_servers_log(
    aurora: Aurora, capsys: pytest.CaptureFixture[str]
) -> None:
    aurora.sql("ALTER SYSTEM SET log_statement = 'all'")
    aurora.sql("SELECT pg_reload_conf()")
    try:
        aurora.prepare("--reader", f"readers_{aurora.user}")
        aurora.prepare("--set-password")
    finally:
        aurora.sql("ALTER SYSTEM RESET log_statement")
        aurora.sql("SELECT pg_reload_conf()")
    captured = capsys.readouterr()
    log = aurora.postgres.log.read_text(errors="replace")
    sent = json.dumps(aurora.api.statements, ensure_ascii=False)
    assert "ALTER ROLE %I PASSWORD %L" in sent
    assert "ALTER ROLE %I PASSWORD %L" in log
    for text in (captured.out + captured.err, log, sent):
        assert "p:ssw" not in text
        assert "admin password" not in text
    # nor does what stands in for it show in the statements themselves
    assert all("SCRAM-SHA-256" not in statement for statement, _ in aurora.api.statements)


def test_readers_may_read_the_tables_of_today_and_of_tomorrow_and_change_nothing(
    aurora: Aurora, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, analyst = f"readers_{aurora.user}", f"analyst_{aurora.user}"
    aurora.prepare()
    user = target_of(aurora.dsn(aurora.user, PASSWORD), user=aurora.user, password=PASSWORD)
    execute(user, 'CREATE TABLE canvas."Of Today" AS SELECT 1 AS id')
    aurora.prepare("--reader", reader)
    assert f"SELECT on 1 table of canvas for {reader}" in capsys.readouterr().out
    execute(user, "CREATE TABLE canvas.of_tomorrow AS SELECT 2 AS id")
    aurora.postgres.create_role(analyst, "pw")
    aurora.sql(f'GRANT "{reader}" TO "{analyst}"')
    with psycopg.connect(aurora.dsn(analyst, "pw"), autocommit=True) as connection:
        assert connection.execute('SELECT id FROM canvas."Of Today"').fetchone() == (1,)
        assert connection.execute("SELECT id FROM canvas.of_tomorrow").fetchone() == (2,)
        for forbidden in ("DELETE FROM canvas.of_tomorrow", "CREATE TABLE canvas.mine (id int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
    aurora.prepare("--reader", reader)
    assert "Nothing to change" in capsys.readouterr().out


def test_membership_lets_the_user_restore_views_of_others(aurora: Aurora, capsys: pytest.CaptureFixture[str]) -> None:
    owner = f"owner_{aurora.user}"
    # made by the administrator, who may therefore grant it
    with psycopg.connect(aurora.dsn(aurora.admin, "admin password"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(owner)))
    aurora.prepare("--member-of", owner)
    assert f"membership of {aurora.user} in {owner}, whose views it may restore" in lines(
        capsys.readouterr().out, "changed"
    )
    user = target_of(aurora.dsn(aurora.user, PASSWORD), user=aurora.user, password=PASSWORD)
    assert execute(user, f"SELECT pg_has_role('{owner}', 'USAGE')") == "True"
    aurora.prepare("--member-of", owner)
    assert "Nothing to change" in capsys.readouterr().out


def test_tables_of_another_tool_are_named_before_anything_is_changed_there(
    aurora: Aurora, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = f"tool_{aurora.user}"
    with psycopg.connect(aurora.dsn(aurora.admin, "admin password"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(owner)))
    aurora.sql(f'CREATE SCHEMA canvas AUTHORIZATION "{owner}"')
    with pytest.raises(SystemExit, match=f"schema canvas or tables in it belong to {owner}.*--member-of {owner}"):
        aurora.prepare()
    assert aurora.sql("SELECT nspname FROM pg_namespace WHERE nspname IN ('cd2', 'instructure_dap')") == []
    aurora.prepare("--member-of", owner)
    assert f"schema canvas can be used by {aurora.user} (owner {owner})" in capsys.readouterr().out
