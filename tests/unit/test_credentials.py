"""Credentials and notifications over AWS's real protocol (moto server); connections win over SSM and secrets."""

import json
from unittest.mock import Mock

import boto3
import pytest

from cd2.notification.message import Message
from cd2.notification.sns import publish
from cd2.replication.errors import StopAll, TransientError
from cd2.settings import Settings
from cd2.tasks.credentials import PLACEHOLDER, dap_credentials, database_target

SECRET = {"host": "db.example", "port": 5433, "dbname": "cd2", "username": "loader", "password": "s3cret-pw"}


def put_parameters(path: str, **values: str) -> None:
    for name, value in values.items():
        boto3.client("ssm").put_parameter(Name=f"{path}/{name}", Value=value, Type="SecureString", Overwrite=True)


@pytest.mark.usefixtures("aws")
def test_the_dap_key_comes_from_ssm_at_the_environments_path() -> None:
    put_parameters("/stg/canvas_data_2", dap_client_id="us-east-1#id", dap_client_secret=" a secret \n")
    credentials = dap_credentials(Settings(environment="stg"))
    assert credentials.client_id == "us-east-1#id"
    assert credentials.client_secret == "a secret"
    assert credentials.base_url == "https://api-gateway.instructure.com"
    assert "a secret" not in repr(credentials)


@pytest.mark.usefixtures("aws")
def test_asking_aws_does_not_read_the_source_of_everything_on_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hooks do to name the operator in the user agent took a quarter of each task's processor time."""
    looked = Mock(return_value=[])
    monkeypatch.setattr("inspect.stack", looked)
    put_parameters("/stg/canvas_data_2", dap_client_id="id", dap_client_secret="secret")
    boto3.client("secretsmanager").create_secret(Name="quick", SecretString=json.dumps(SECRET))
    dap_credentials(Settings(environment="stg"))
    database_target(Settings(database_secret="quick"))
    assert looked.call_count == 0


@pytest.mark.usefixtures("aws")
def test_a_missing_parameter_is_told_by_its_path() -> None:
    with pytest.raises(StopAll, match=r"/prod/other/dap_client_id cannot be used \(ParameterNotFound\)"):
        dap_credentials(Settings(environment="prod", ssm_path="other"))


@pytest.mark.usefixtures("aws")
def test_a_key_that_nobody_has_put_there_yet_is_told() -> None:
    put_parameters("/prod/canvas_data_2", dap_client_id=PLACEHOLDER, dap_client_secret=PLACEHOLDER)
    with pytest.raises(StopAll, match=r"dap_client_id cannot be used \(it still holds the placeholder"):
        dap_credentials(Settings(environment="prod"))


def test_the_connection_wins_and_gives_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "http", "login": "id", "password": "pw", "host": "https://dap.example"}
    monkeypatch.setenv("AIRFLOW_CONN_CD2_DAP", json.dumps(connection))
    credentials = dap_credentials(Settings())
    assert (credentials.base_url, credentials.client_id, credentials.client_secret) == (
        "https://dap.example",
        "id",
        "pw",
    )


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        ("http://id:pw@dap.example:8000/http", "http://dap.example:8000"),
        ("http://id:pw@dap.example", "https://dap.example"),
        ("http://id:pw@", "https://api-gateway.instructure.com"),
    ],
)
def test_the_host_of_a_connection_may_be_bare_or_missing(
    uri: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CD2_DAP", uri)
    assert dap_credentials(Settings()).base_url == base_url


def test_an_incomplete_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CD2_DAP", "http://id@dap.example")
    with pytest.raises(StopAll, match=r"connection cd2_dap has no login .* or no password"):
        dap_credentials(Settings())


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("by", ["Name", "ARN"])
def test_the_database_comes_from_secrets_manager_by_name_or_arn(by: str) -> None:
    made = boto3.client("secretsmanager").create_secret(Name=f"db-by-{by}", SecretString=json.dumps(SECRET))
    target = database_target(Settings(database_secret=made[by]))
    assert (target.host, target.port, target.dbname, target.user) == ("db.example", 5433, "cd2", "loader")
    assert target.password == "s3cret-pw"
    assert target.sslmode == "verify-full"
    assert "s3cret-pw" not in f"{target} {target!r}"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("not json", "it is not JSON"),
        ('["a", "list"]', "it is not a JSON object"),
        (json.dumps({"host": "h", "username": "u"}), "lacks dbname, password"),
        (json.dumps(SECRET | {"port": "many"}), "has the port 'many'"),
    ],
)
def test_an_unusable_secret_is_told_without_its_content(content: str, told: str) -> None:
    name = f"secret-{abs(hash(content))}"
    boto3.client("secretsmanager").create_secret(Name=name, SecretString=content)
    with pytest.raises(StopAll) as caught:
        database_target(Settings(database_secret=name))
    assert name in caught.value.message
    assert told in caught.value.message
    assert "s3cret-pw" not in caught.value.message


@pytest.mark.usefixtures("aws")
def test_a_missing_secret_is_told() -> None:
    with pytest.raises(StopAll, match=r"The secret nowhere cannot be used \(ResourceNotFoundException\)"):
        database_target(Settings(database_secret="nowhere"))


@pytest.mark.usefixtures("aws")
def test_a_notification_that_cannot_be_published_is_told_by_its_topic() -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:no-such-topic"
    with pytest.raises(TransientError, match=r"no-such-topic \(NotFound\): check that"):
        publish(Settings(sns_topic_arn=topic), Message("subject", "body", {"status": "success"}))


@pytest.mark.usefixtures("aws")
def test_a_notification_is_published_with_its_attributes() -> None:
    topic = boto3.client("sns").create_topic(Name="told")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="told")["QueueUrl"]
    queue_arn = "arn:aws:sqs:eu-west-1:123456789012:told"
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    message_id = publish(Settings(sns_topic_arn=topic), Message("subject", "body", {"status": "failure"}))
    received = json.loads(boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"])
    assert (received["MessageId"], received["Subject"], received["Message"]) == (message_id, "subject", "body")
    assert received["MessageAttributes"]["status"]["Value"] == "failure"


def test_a_postgres_connection_wins_and_so_do_its_tls_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql://loader:pw@db.example/cd2?sslmode=verify-ca&sslrootcert=%2Fca.pem"
    monkeypatch.setenv("AIRFLOW_CONN_CD2_POSTGRES", uri)
    target = database_target(Settings(database_secret="unused"))
    assert (target.host, target.port, target.dbname, target.user) == ("db.example", 5432, "cd2", "loader")
    assert (target.sslmode, target.sslrootcert) == ("verify-ca", "/ca.pem")


def test_a_misspelt_sslmode_is_told_instead_of_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CD2_POSTGRES", "postgresql://loader:pw@db.example/cd2?sslmode=verify_full")
    with pytest.raises(StopAll, match="has the sslmode 'verify_full': it must be one of disable"):
        database_target(Settings())


def test_no_database_at_all_is_told() -> None:
    with pytest.raises(StopAll, match="No database is configured: create the Airflow connection cd2_postgres"):
        database_target(Settings())
