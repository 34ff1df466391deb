"""prepare_database gives a real PostgreSQL what the replication needs, through the Data API or a connection."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
from psycopg import sql

from cd2.settings import NAMESPACES as CONFIGURABLE
from local.postgres import EmbeddedPostgres
from scripts.prepare_database.__main__ import NAMESPACES, main
from tests.infra.data_api import DataApi, Refusal, serving
from tests.replication.replica import assert_equal, execute, make_replicator, prepare, run, target_of
from tests.replication.simulators import NO_LIMITS, simulator_process
from tests.steps import init, sync

pytestmark = pytest.mark.infra

CLUSTER = "arn:aws:rds:eu-central-1:123456789012:cluster:canvas-data-2-dev"
PASSWORD = 'it\'s a "p:ssw%rd" \\ $ä'
"""With everything that needs quoting somewhere."""


@dataclass
class World:
    """A database as Aurora's is after `terraform apply`: its administrator is no superuser, and owns it."""

    postgres: EmbeddedPostgres
    api: DataApi
    database: str
    admin: str
    user: str
    output: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> dict[str, str]:
        return {"--cluster": CLUSTER, "--admin-secret": self.admin, "--secret": self.user, "--database": self.database}

    def dsn(self, user: str, password: str) -> str:
        return self.postgres.dsn(self.database, user, password)

    def prepare(self, *more: str, **changed: str) -> None:
        """:param changed: arguments in place of the usual ones."""
        arguments = self.outputs | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        main([part for pair in arguments.items() for part in pair] + list(more))

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        return self.postgres.execute(sql.SQL(statement), self.database)  # type: ignore[arg-type]


def put_secret(name: str, **values: object) -> None:
    client = boto3.client("secretsmanager")
    text = json.dumps(values)
    try:
        client.create_secret(Name=name, SecretString=text)
    except client.exceptions.ResourceExistsException:
        client.put_secret_value(SecretId=name, SecretString=text)


@pytest.fixture
def world(postgres: EmbeddedPostgres, moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    token = secrets.token_hex(4)
    names = {"database": f"cd2_{token}", "admin": f"admin_{token}", "user": f"loader-{token}"}
    postgres.create_role(names["admin"], "admin password", "CREATEROLE CREATEDB")
    postgres.create_database(names["database"], owner=names["admin"])
    put_secret(names["admin"], username=names["admin"], password="admin password")
    put_secret(
        names["user"],
        host="db.example",
        port=5432,
        dbname=names["database"],
        username=names["user"],
        password=PASSWORD,
    )
    api = DataApi({CLUSTER: ("127.0.0.1", int(postgres.port or 0))})
    with serving(api) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_RDS_DATA", address)
        yield World(postgres, api, **names)
    postgres.drop_database(names["database"])


def lines(output: str, kind: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in output.splitlines() if line.startswith(f"  {kind} ")]


def test_everything_is_made_and_a_second_time_nothing_changes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.prepare("--namespaces", "canvas,catalog")
    first = capsys.readouterr().out
    assert lines(first, "changed") == [
        f"role {world.user}: made",
        f"password of {world.user}: set to that of its secret",
        f"CREATE on the database {world.database} for {world.user}",
        f"schema instructure_dap: made, owned by {world.user}",
        f"schema cd2: made, owned by {world.user}",
        f"schema canvas: made, owned by {world.user}",
        f"schema catalog: made, owned by {world.user}",
    ]
    world.prepare("--namespaces", "canvas,catalog")
    second = capsys.readouterr().out
    assert lines(second, "changed") == []
    assert second.splitlines()[-1] == "Nothing to change: 8 already right."
    with psycopg.connect(world.dsn(world.user, PASSWORD)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (world.user,)


def test_the_replication_works_with_this_user_and_no_other_right(world: World, tmp_path: Path) -> None:
    world.prepare("--namespaces", "canvas,catalog,canvas_logs,new_quizzes")
    dsn = world.dsn(world.user, PASSWORD)
    target = target_of(dsn, user=world.user, password=PASSWORD)
    with simulator_process(tmp_path, "--rows", "40", *NO_LIMITS) as simulator:
        prepare(target)
        replicator = make_replicator(simulator, target)
        for table in ("users", "roles"):
            assert run(init(replicator, f"canvas.{table}")).state == "initialized"
        simulator.advance(0.5, ["canvas.users"])
        assert run(sync(replicator, "canvas.users")).state == "complete"
        assert_equal(simulator, dsn, "canvas.users", "canvas.roles")


def test_a_namespace_that_is_added_later_needs_no_administrator(world: World) -> None:
    """CREATE on the database is what prepare_database of the DAG needs for it."""
    world.prepare("--namespaces", "canvas")
    target = target_of(world.dsn(world.user, PASSWORD), user=world.user, password=PASSWORD)
    execute(target, "CREATE SCHEMA new_quizzes")
    world.sql(f'REVOKE CREATE ON DATABASE "{world.database}" FROM "{world.user}"')
    with pytest.raises(Exception, match="permission denied for database"):
        execute(target, "CREATE SCHEMA catalog")


def test_a_dry_run_tells_the_same_and_changes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    everything = ("--namespaces", "canvas,catalog", "--reader", f"readers_{world.user}")
    before = world.sql("SELECT rolname FROM pg_roles UNION SELECT nspname FROM pg_namespace ORDER BY 1")
    world.prepare(*everything, "--dry-run")
    planned = capsys.readouterr().out
    assert world.sql("SELECT rolname FROM pg_roles UNION SELECT nspname FROM pg_namespace ORDER BY 1") == before
    world.prepare(*everything)
    done = capsys.readouterr().out
    assert lines(planned, "would") == lines(done, "changed")
    assert "Dry run: 12 changes to make" in planned
    world.prepare(*everything, "--dry-run")
    assert "Nothing to change" in capsys.readouterr().out


def test_another_password_in_the_secret_is_set_and_the_old_one_ends(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.prepare()
    put_secret(world.user, host="h", dbname=world.database, username=world.user, password="another one")
    capsys.readouterr()
    world.prepare()
    assert lines(capsys.readouterr().out, "changed") == [f"password of {world.user}: set to that of its secret"]
    psycopg.connect(world.dsn(world.user, "another one")).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(world.dsn(world.user, PASSWORD))


def test_the_password_is_neither_in_the_output_nor_in_a_statement_nor_in_the_servers_log(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.sql("ALTER SYSTEM SET log_statement = 'all'")
    world.sql("SELECT pg_reload_conf()")
    try:
        world.prepare("--reader", f"readers_{world.user}")
        world.prepare("--set-password")
    finally:
        world.sql("ALTER SYSTEM RESET log_statement")
        world.sql("SELECT pg_reload_conf()")
    captured = capsys.readouterr()
    log = world.postgres.log.read_text(errors="replace")
    sent = json.dumps(world.api.statements, ensure_ascii=False)
    assert "ALTER ROLE %I PASSWORD %L" in sent
    assert "ALTER ROLE %I PASSWORD %L" in log
    for text in (captured.out + captured.err, log, sent):
        assert "p:ssw" not in text
        assert "admin password" not in text
    # nor does what stands in for it show in the statements themselves
    assert all("SCRAM-SHA-256" not in statement for statement, _ in world.api.statements)


def test_readers_may_read_the_tables_of_today_and_of_tomorrow_and_change_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, analyst = f"readers_{world.user}", f"analyst_{world.user}"
    world.prepare()
    user = target_of(world.dsn(world.user, PASSWORD), user=world.user, password=PASSWORD)
    execute(user, 'CREATE TABLE canvas."Of Today" AS SELECT 1 AS id')
    world.prepare("--reader", reader)
    assert f"SELECT on 1 table of canvas for {reader}" in capsys.readouterr().out
    execute(user, "CREATE TABLE canvas.of_tomorrow AS SELECT 2 AS id")
    world.postgres.create_role(analyst, "pw")
    world.sql(f'GRANT "{reader}" TO "{analyst}"')
    with psycopg.connect(world.dsn(analyst, "pw"), autocommit=True) as connection:
        assert connection.execute('SELECT id FROM canvas."Of Today"').fetchone() == (1,)
        assert connection.execute("SELECT id FROM canvas.of_tomorrow").fetchone() == (2,)
        for forbidden in ("DELETE FROM canvas.of_tomorrow", "CREATE TABLE canvas.mine (id int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)  # type: ignore[call-overload]
    world.prepare("--reader", reader)
    assert "Nothing to change" in capsys.readouterr().out


def test_membership_lets_the_user_restore_views_of_others(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    owner = f"owner_{world.user}"
    # made by the administrator, who may therefore grant it
    with psycopg.connect(world.dsn(world.admin, "admin password"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(owner)))
    world.prepare("--member-of", owner)
    assert f"membership of {world.user} in {owner}, whose views it may restore" in lines(
        capsys.readouterr().out, "changed"
    )
    user = target_of(world.dsn(world.user, PASSWORD), user=world.user, password=PASSWORD)
    assert execute(user, f"SELECT pg_has_role('{owner}', 'USAGE')") == "True"
    world.prepare("--member-of", owner)
    assert "Nothing to change" in capsys.readouterr().out


def test_tables_of_another_tool_are_named_before_anything_is_changed_there(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = f"tool_{world.user}"
    with psycopg.connect(world.dsn(world.admin, "admin password"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(owner)))
    world.sql(f'CREATE SCHEMA canvas AUTHORIZATION "{owner}"')
    with pytest.raises(SystemExit, match=f"schema canvas or tables in it belong to {owner}.*--member-of {owner}"):
        world.prepare()
    assert world.sql("SELECT nspname FROM pg_namespace WHERE nspname IN ('cd2', 'instructure_dap')") == []
    world.prepare("--member-of", owner)
    assert f"schema canvas is {world.user}'s to use (owner {owner})" in capsys.readouterr().out


def test_a_paused_database_is_woken_up(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    resuming = "The Aurora DB instance x is resuming after being auto-paused. Please wait a few seconds and try again."
    world.api.refusals = [Refusal("DatabaseResumingException", resuming)] * 2
    world.prepare()
    output = capsys.readouterr().out
    assert output.count("has paused itself and is being woken up") == 1
    assert "changes made" in output


def test_throttling_is_waited_out(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.api.refusals = [Refusal("ThrottlingException", "Rate exceeded", 429)] * 3
    world.prepare()
    assert "changes made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal("HttpEndpointNotEnabledException", "HttpEndpoint is not enabled"), "its Data API is off"),
        (
            Refusal("AccessDeniedException", "User: x is not authorized to perform: rds-data:BeginTransaction", 403),
            "your AWS identity lacks a right .*rds-data:BeginTransaction",
        ),
        (Refusal("StatementTimeoutException", "Request timed out"), "a statement took over 45 s"),
        (Refusal("ExpiredTokenException", "The security token is expired", 403), "credentials have expired"),
    ],
)
def test_what_the_data_api_refuses_is_a_sentence(world: World, refusal: Refusal, told: str) -> None:
    world.api.refusals = [refusal]
    with pytest.raises(SystemExit, match=f"prepare_database: .*{told}"):
        world.prepare()


def test_wrong_places_are_sentences(world: World) -> None:
    with pytest.raises(SystemExit, match="the cluster is not there or not available"):
        world.prepare(cluster=CLUSTER + "-other")
    with pytest.raises(SystemExit, match="a secret cannot be used to log in"):
        world.prepare(admin_secret="nowhere-to-be-found")
    with pytest.raises(SystemExit, match=r"Reading the secret nowhere failed: .*\(ResourceNotFoundException\)"):
        world.prepare(secret="nowhere")
    with pytest.raises(SystemExit, match=r"names the database .*, but this is postgres"):
        world.prepare(database="postgres")
    with pytest.raises(SystemExit, match="sandbox is no namespace: there are canvas, canvas_logs"):
        world.prepare(namespaces="canvas,sandbox")
    with pytest.raises(SystemExit, match="There is no role nobody_at_all to become a member of"):
        world.prepare("--member-of", "nobody_at_all")
    assert world.sql(f"SELECT FROM pg_roles WHERE rolname = '{world.user}'") == []


def test_an_administrators_wrong_password_is_a_sentence(world: World) -> None:
    put_secret(world.admin, username=world.admin, password="not this one")
    with pytest.raises(SystemExit, match=r"refused the administrator's log-in .*check the admin secret") as caught:
        world.prepare()
    assert "not this one" not in str(caught.value)


def test_an_administrator_who_may_not_make_roles_is_told(world: World) -> None:
    world.sql(f'ALTER ROLE "{world.admin}" NOCREATEROLE')
    with pytest.raises(SystemExit, match=r"lacks a right \(permission denied to create role\): it needs CREATEROLE"):
        world.prepare()


def test_an_administrator_who_does_not_own_the_database_is_told(world: World) -> None:
    """PostgreSQL itself only warns."""
    world.sql(f'ALTER DATABASE "{world.database}" OWNER TO postgres')
    with pytest.raises(SystemExit, match=r"may not grant CREATE on the database .*as the database's owner"):
        world.prepare()
    assert world.sql(f"SELECT FROM pg_roles WHERE rolname = '{world.user}'") == []


@pytest.mark.parametrize("options", ["SUPERUSER", "CREATEROLE"])
def test_a_secret_that_names_an_administrator_is_refused(world: World, options: str) -> None:
    world.postgres.create_role(world.user, "whatever", options)
    with pytest.raises(SystemExit, match="is an administrator"):
        world.prepare()


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("no json at all", "is no JSON object"),
        ('{"host": "h", "username": "u"}', "lacks dbname, password"),
        ('{"host": "h", "username": "u", "dbname": "d", "password": ""}', "lacks password"),
        ('{"host": "h", "username": "u", "dbname": "d", "password": "p", "port": "x"}', "has the port 'x'"),
    ],
)
def test_a_secret_that_cannot_be_used_is_a_sentence(world: World, secret: str, told: str) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId=world.user, SecretString=secret)
    with pytest.raises(SystemExit, match=f"The secret {world.user} .*{told}"):
        world.prepare()


class TestOwnDatabase:
    """With a DSN instead of the Data API; no AWS."""

    @pytest.fixture
    def files(self, world: World, tmp_path: Path) -> list[str]:
        dsn, secret = tmp_path / "dsn", tmp_path / "secret.json"
        dsn.write_text(world.dsn(world.admin, "admin password") + "\n")
        values = {"host": "h", "dbname": world.database, "username": world.user, "password": PASSWORD}
        secret.write_text(json.dumps(values))
        return ["--dsn-file", str(dsn), "--secret-file", str(secret)]

    def test_the_same_is_made_and_a_second_time_nothing_changes(
        self, world: World, files: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        main([*files, "--reader", f"readers_{world.user}"])
        assert "changes made" in capsys.readouterr().out
        main([*files, "--reader", f"readers_{world.user}"])
        assert "Nothing to change" in capsys.readouterr().out
        assert world.api.statements == []
        psycopg.connect(world.dsn(world.user, PASSWORD)).close()

    def test_the_dsn_may_come_from_the_environment(
        self, world: World, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CD2_ADMIN_DSN", world.dsn(world.admin, "admin password"))
        main([*files[2:], "--dry-run"])
        assert "Dry run: 6 changes to make" in capsys.readouterr().out

    def test_a_password_in_an_argument_is_refused(self, world: World, files: list[str]) -> None:
        with pytest.raises(SystemExit, match="A password in an argument can be read by everybody") as caught:
            main(["--dsn", world.dsn(world.admin, "admin password"), *files[2:]])
        assert "admin password" not in str(caught.value)

    def test_what_is_wrong_with_the_dsn_is_a_sentence(self, world: World, files: list[str], tmp_path: Path) -> None:
        where = urlsplit(world.dsn(world.admin, "x"))
        wrong = {
            "postgresql://%%/": "The DSN cannot be read",
            f"postgresql://{world.admin}@127.0.0.1:1/{world.database}": "cannot be reached",
            world.dsn(world.admin, "wrong"): "refused the administrator's log-in",
            f"postgresql://a@{where.hostname}:{where.port}": "names no database",
        }
        for dsn, told in wrong.items():
            (tmp_path / "wrong").write_text(dsn)
            with pytest.raises(SystemExit, match=told):
                main(["--dsn-file", str(tmp_path / "wrong"), *files[2:]])
        with pytest.raises(SystemExit, match="nothing-there cannot be read: No such file"):
            main(["--dsn-file", str(tmp_path / "nothing-there"), *files[2:]])


def test_its_namespaces_are_those_that_can_be_configured() -> None:
    assert NAMESPACES == CONFIGURABLE
