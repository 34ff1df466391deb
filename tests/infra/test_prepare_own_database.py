"""prepare_database with a DSN instead of the Data API; no AWS."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from cd2.replication.bookkeeping import preparation
from cd2.replication.names import NAMESPACES as CONFIGURABLE
from scripts.prepare_database.__main__ import NAMESPACES, main
from scripts.prepare_database.preparation import OLDEST_SERVER
from tests.infra.aurora import PASSWORD, Aurora

pytestmark = pytest.mark.infra


@pytest.fixture
def files(aurora: Aurora, tmp_path: Path) -> list[str]:
    dsn, secret = tmp_path / "dsn", tmp_path / "secret.json"
    dsn.write_text(aurora.dsn(aurora.admin, "admin password") + "\n")
    values = {"host": "h", "dbname": aurora.database, "username": aurora.user, "password": PASSWORD}
    secret.write_text(json.dumps(values))
    return ["--dsn-file", str(dsn), "--secret-file", str(secret)]


def test_the_same_is_made_and_a_second_time_nothing_changes(
    aurora: Aurora, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*files, "--reader", f"readers_{aurora.user}"])
    assert "changes made" in capsys.readouterr().out
    main([*files, "--reader", f"readers_{aurora.user}"])
    assert "Nothing to change" in capsys.readouterr().out
    assert aurora.api.statements == []
    psycopg.connect(aurora.dsn(aurora.user, PASSWORD)).close()


def test_the_dsn_may_come_from_the_environment(
    aurora: Aurora, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CD2_ADMIN_DSN", aurora.dsn(aurora.admin, "admin password"))
    main([*files[2:], "--dry-run"])
    assert "Dry run: 6 changes to make" in capsys.readouterr().out


def test_a_password_in_an_argument_is_refused(aurora: Aurora, files: list[str]) -> None:
    with pytest.raises(SystemExit, match="A password in an argument is visible to everybody") as caught:
        main(["--dsn", aurora.dsn(aurora.admin, "admin password"), *files[2:]])
    assert "admin password" not in str(caught.value)


def test_what_is_wrong_with_the_dsn_is_a_sentence(aurora: Aurora, files: list[str], tmp_path: Path) -> None:
    where = urlsplit(aurora.dsn(aurora.admin, "x"))
    wrong = {
        "postgresql://%%/": "The DSN is not valid",
        f"postgresql://{aurora.admin}@127.0.0.1:1/{aurora.database}": "cannot be reached",
        aurora.dsn(aurora.admin, "wrong"): "refused the administrator's login",
        f"postgresql://a@{where.hostname}:{where.port}": "names no database",
    }
    for dsn, told in wrong.items():
        (tmp_path / "wrong").write_text(dsn)
        with pytest.raises(SystemExit, match=told):
            main(["--dsn-file", str(tmp_path / "wrong"), *files[2:]])
    with pytest.raises(SystemExit, match="nothing-there cannot be read: No such file"):
        main(["--dsn-file", str(tmp_path / "nothing-there"), *files[2:]])


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_the_data_is_refused_with_the_one_that_can(
    encoding: str, aurora: Aurora, files: list[str]
) -> None:
    admin = aurora.dsn(aurora.admin, "admin password")
    with psycopg.connect(aurora.postgres.dsn(), autocommit=True) as superuser:
        superuser.execute(f'DROP DATABASE "{aurora.database}"'.encode())
        superuser.execute(
            f"CREATE DATABASE \"{aurora.database}\" OWNER \"{aurora.admin}\" ENCODING '{encoding}' LOCALE 'C' "
            "TEMPLATE template0".encode()
        )
        with pytest.raises(SystemExit, match=f"has the encoding {encoding}.*Nothing was changed") as caught:
            main(files)
        assert superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [aurora.user]).fetchone() is None
        superuser.execute(f'DROP DATABASE "{aurora.database}"'.encode())
    create = str(caught.value)[str(caught.value).index("CREATE DATABASE") :]
    with psycopg.connect(aurora.postgres.dsn("postgres", aurora.admin, "admin password"), autocommit=True) as owner:
        owner.execute(create.encode())
    main(files)
    assert psycopg.connect(admin).info.encoding == "utf-8"


def test_it_demands_the_same_server_as_the_dag() -> None:
    assert OLDEST_SERVER == preparation.OLDEST_SERVER


def test_its_namespaces_are_those_that_can_be_configured() -> None:
    assert NAMESPACES == CONFIGURABLE
