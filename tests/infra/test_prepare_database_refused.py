"""What stands in the way of prepare_database is waited out, or is a sentence that says what to do."""

from __future__ import annotations

import boto3
import pytest

from tests.infra.aurora import CLUSTER, Aurora, put_secret
from tests.infra.data_api import Refusal

pytestmark = pytest.mark.infra


def test_a_paused_database_is_woken_up(aurora: Aurora, capsys: pytest.CaptureFixture[str]) -> None:
    resuming = "The Aurora DB instance x is resuming after being auto-paused. Please wait a few seconds and try again."
    aurora.api.refusals = [Refusal("DatabaseResumingException", resuming)] * 2
    aurora.prepare()
    output = capsys.readouterr().out
    assert output.count("is paused; waiting for it to resume") == 1
    assert "changes made" in output


def test_throttling_is_waited_out(aurora: Aurora, capsys: pytest.CaptureFixture[str]) -> None:
    aurora.api.refusals = [Refusal("ThrottlingException", "Rate exceeded", 429)] * 3
    aurora.prepare()
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
def test_what_the_data_api_refuses_is_a_sentence(aurora: Aurora, refusal: Refusal, told: str) -> None:
    aurora.api.refusals = [refusal]
    with pytest.raises(SystemExit, match=f"prepare_database: .*{told}"):
        aurora.prepare()


def test_wrong_places_are_sentences(aurora: Aurora) -> None:
    with pytest.raises(SystemExit, match="the cluster does not exist or is not available"):
        aurora.prepare(cluster=CLUSTER + "-other")
    with pytest.raises(SystemExit, match="a secret cannot be used to log in"):
        aurora.prepare(admin_secret="nowhere-to-be-found")
    with pytest.raises(SystemExit, match=r"Reading the secret nowhere failed: .*\(ResourceNotFoundException\)"):
        aurora.prepare(secret="nowhere")
    with pytest.raises(SystemExit, match=r"names the database .*, but this is postgres"):
        aurora.prepare(database="postgres")
    with pytest.raises(SystemExit, match="sandbox is not a namespace; allowed are canvas, canvas_logs"):
        aurora.prepare(namespaces="canvas,sandbox")
    with pytest.raises(SystemExit, match="There is no role nobody_at_all to become a member of"):
        aurora.prepare("--member-of", "nobody_at_all")
    assert aurora.sql(f"SELECT FROM pg_roles WHERE rolname = '{aurora.user}'") == []


def test_an_administrators_wrong_password_is_a_sentence(aurora: Aurora) -> None:
    put_secret(aurora.admin, username=aurora.admin, password="not this one")
    with pytest.raises(SystemExit, match=r"refused the administrator's login .*check the admin secret") as caught:
        aurora.prepare()
    assert "not this one" not in str(caught.value)


def test_an_administrator_who_may_not_make_roles_is_told(aurora: Aurora) -> None:
    aurora.sql(f'ALTER ROLE "{aurora.admin}" NOCREATEROLE')
    with pytest.raises(SystemExit, match=r"lacks a right \(permission denied to create role\): it needs CREATEROLE"):
        aurora.prepare()


def test_an_administrator_who_does_not_own_the_database_is_told(aurora: Aurora) -> None:
    """PostgreSQL itself only warns."""
    aurora.sql(f'ALTER DATABASE "{aurora.database}" OWNER TO postgres')
    with pytest.raises(SystemExit, match=r"may not grant CREATE on the database .*as the database's owner"):
        aurora.prepare()
    assert aurora.sql(f"SELECT FROM pg_roles WHERE rolname = '{aurora.user}'") == []


@pytest.mark.parametrize("options", ["SUPERUSER", "CREATEROLE"])
def test_a_secret_that_names_an_administrator_is_refused(aurora: Aurora, options: str) -> None:
    aurora.postgres.create_role(aurora.user, "whatever", options)
    with pytest.raises(SystemExit, match="is an administrator"):
        aurora.prepare()


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("no json at all", "is not a JSON object"),
        ('{"host": "h", "username": "u"}', "lacks dbname, password"),
        ('{"host": "h", "username": "u", "dbname": "d", "password": ""}', "lacks password"),
        ('{"host": "h", "username": "u", "dbname": "d", "password": "p", "port": "x"}', "has the port 'x'"),
    ],
)
def test_a_secret_that_cannot_be_used_is_a_sentence(aurora: Aurora, secret: str, told: str) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId=aurora.user, SecretString=secret)
    with pytest.raises(SystemExit, match=f"The secret {aurora.user} .*{told}"):
        aurora.prepare()
