"""The execution role as Terraform plans it may do what MWAA and the DAG need, and nothing beside it.

Its policy is put on a role of MiniStack, which enforces IAM, and what runs on MWAA is called for real. The names that
only AWS gives (account, ARNs of key, topic and secret) are exchanged for MiniStack's. What cannot be seen here is the
use of the key through a service: MiniStack asks for no right on it. That the role cannot use the key by itself is. Nor
the namespaces that it may put metrics to: test_terraform_plans.py looks at that statement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cd2.notification.message import Message
from cd2.notification.sns import publish
from cd2.settings import Settings
from cd2.tasks.credentials import dap_credentials, database_target
from tests.infra.ministack import ACCOUNT, REGION, MiniStack, running
from tests.infra.plan import planned_role_policy

pytestmark = pytest.mark.infra

ROLE = "execution"
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"}
DATABASE = {"host": "db", "port": 5432, "dbname": "cd2", "username": "cd2", "password": "pw"}


@dataclass
class Account:
    """What is there, of ours and of others; and the role's credentials."""

    ministack: MiniStack
    policy: dict[str, Any]
    name: str
    bucket: str
    topic: str
    other_topic: str
    secret: str
    other_secret: str
    key: str
    queue: str
    other_queue: str
    credentials: dict[str, str]

    def client(self, service: str) -> Any:
        return self.ministack.client(service, self.credentials)


def statement_for(policy: dict[str, Any], action: str) -> dict[str, Any]:
    """The one statement that names an action."""
    statements = policy["Statement"]
    (found,) = [s for s in statements if action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])]
    return dict(found)


def resources(statement: dict[str, Any]) -> list[str]:
    resource = statement["Resource"]
    return [resource] if isinstance(resource, str) else list(resource)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    planned = planned_role_policy("dev")
    with running(tmp_path_factory.mktemp("ministack")) as ministack:
        yield _furnished(ministack, planned)


def _furnished(ministack: MiniStack, planned: dict[str, Any]) -> Account:
    client = ministack.client
    (group,) = resources(statement_for(planned, "logs:PutLogEvents"))
    name = re.fullmatch(r".*:log-group:airflow-(.+)-\*(?::\*)?", group)
    assert name
    bucket = resources(statement_for(planned, "s3:GetObject*"))[0].rsplit(":", 1)[1].removesuffix("/*")
    for parameter in ("dap_client_id", "dap_client_secret"):
        for environment in ("dev", "prod"):
            client("ssm").put_parameter(
                Name=f"/{environment}/canvas_data_2/{parameter}", Value=environment, Type="SecureString"
            )
    client("ssm").put_parameter(Name="/dev/other/password", Value="x", Type="SecureString")
    secrets = {
        of: client("secretsmanager").create_secret(
            Name=f"{of}/canvas_data_2/database", SecretString=json.dumps(DATABASE)
        )
        for of in ("dev", "prod")
    }
    topics = [client("sns").create_topic(Name=topic)["TopicArn"] for topic in (name[1], "other")]
    queues = [client("sqs").create_queue(QueueName=q)["QueueUrl"] for q in ("airflow-celery-1234", "other")]
    for each in (bucket, "other-bucket"):
        client("s3").create_bucket(Bucket=each, CreateBucketConfiguration={"LocationConstraint": REGION})
        client("s3").put_object(Bucket=each, Key="dags/canvas_data_2.py", Body=b"#")
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    exchanged = {
        resources(statement_for(planned, "sns:Publish"))[0]: topics[0],
        resources(statement_for(planned, "secretsmanager:GetSecretValue"))[0]: secrets["dev"]["ARN"],
        resources(statement_for(planned, "kms:Decrypt"))[0]: key,
    }
    text = json.dumps(planned)
    for theirs, ours in exchanged.items():
        assert "*" not in theirs
        text = text.replace(json.dumps(theirs), json.dumps(ours))
    # MiniStack does not know the namespace of a metric, and would refuse all of them.
    text = text.replace(json.dumps(statement_for(planned, "cloudwatch:PutMetricData")["Condition"]), "{}")
    text = re.sub(r"(arn:aws:[a-z]+:)[a-z0-9-]+:(\d{12}|\*):", rf"\g<1>{REGION}:{ACCOUNT}:", text)
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    role = client("iam").create_role(
        RoleName=ROLE, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    client("iam").put_role_policy(RoleName=ROLE, PolicyName="planned", PolicyDocument=text)
    credentials = client("sts").assume_role(RoleArn=role, RoleSessionName="worker")["Credentials"]
    return Account(
        ministack=ministack,
        policy=json.loads(text),
        name=name[1],
        bucket=bucket,
        topic=topics[0],
        other_topic=topics[1],
        secret=secrets["dev"]["ARN"],
        other_secret=secrets["prod"]["ARN"],
        key=key,
        queue=queues[0],
        other_queue=queues[1],
        credentials=credentials,
    )


@pytest.fixture
def on_mwaa(account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Airflow's hooks act as the role."""
    variables = {
        "AWS_ENDPOINT_URL": account.ministack.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": account.credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": account.credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": account.credentials["SessionToken"],
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return account


def test_the_dag_reads_its_key_and_its_database_and_publishes(on_mwaa: Account) -> None:
    settings = Settings(environment="dev", database_secret=on_mwaa.secret, sns_topic_arn=on_mwaa.topic)
    credentials = dap_credentials(settings)
    assert (credentials.client_id, credentials.client_secret) == ("dev", "dev")
    assert database_target(settings).user == "cd2"
    assert publish(settings, Message("subject", "body", {"status": "success"}))


def test_another_environment_is_out_of_the_dags_reach(on_mwaa: Account) -> None:
    other = Settings(environment="prod", database_secret=on_mwaa.other_secret, sns_topic_arn=on_mwaa.other_topic)
    with pytest.raises(Exception, match=r"/prod/canvas_data_2/dap_client_id cannot be used \(AccessDenied"):
        dap_credentials(other)
    with pytest.raises(Exception, match=r"cannot be used \(AccessDenied"):
        database_target(other)
    with pytest.raises(Exception, match=r"could not be published to .*:other \((Authorization|AccessDenied)"):
        publish(other, Message("subject", "body", {"status": "success"}))


MWAA_NEEDS: dict[str, Callable[[Account], Any]] = {
    "reads the DAGs": lambda a: a.client("s3").get_object(Bucket=a.bucket, Key="dags/canvas_data_2.py"),
    "lists the bucket": lambda a: a.client("s3").list_objects_v2(Bucket=a.bucket, Prefix="dags/"),
    "sees its versions": lambda a: a.client("s3").list_object_versions(Bucket=a.bucket),
    "sees whether it is versioned": lambda a: a.client("s3").get_bucket_versioning(Bucket=a.bucket),
    "makes a log group": lambda a: a.client("logs").create_log_group(logGroupName=f"airflow-{a.name}-Task"),
    "makes a log stream": lambda a: a.client("logs").create_log_stream(
        logGroupName=f"airflow-{a.name}-Task", logStreamName="one"
    ),
    "writes logs": lambda a: a.client("logs").put_log_events(
        logGroupName=f"airflow-{a.name}-Task", logStreamName="one", logEvents=[{"timestamp": 1, "message": "x"}]
    ),
    "reads logs for the web server": lambda a: a.client("logs").get_log_events(
        logGroupName=f"airflow-{a.name}-Task", logStreamName="one"
    ),
    "finds what a trigger logged": lambda a: _find_log_of_trigger(a),
    "looks for log groups": lambda a: a.client("logs").describe_log_groups(),
    "counts": lambda a: a.client("cloudwatch").put_metric_data(
        Namespace="AmazonMWAA", MetricData=[{"MetricName": "x", "Value": 1}]
    ),
    "finds its queue": lambda a: a.client("sqs").get_queue_url(QueueName="airflow-celery-1234"),
    "measures its queue": lambda a: a.client("sqs").get_queue_attributes(QueueUrl=a.queue, AttributeNames=["All"]),
    "hands out work": lambda a: a.client("sqs").send_message(QueueUrl=a.queue, MessageBody="task"),
    "takes work": lambda a: _take(a),
}


def _find_log_of_trigger(account: Account) -> None:
    """As `CloudWatchRemoteTaskLogger._discover_triggerer_streams` of MWAA's image for Airflow 3.3.1 does for the UI.

    The image takes a refusal for "there are none": the log of the trigger is then missing, without a word.
    """
    logs, group, task = account.client("logs"), f"airflow-{account.name}-Task", "dag_id=d/task_id=t/attempt=1.log"
    logs.create_log_stream(logGroupName=group, logStreamName=f"{task}.trigger.7.log")
    found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{task}.trigger.")["logStreams"]
    assert [stream["logStreamName"] for stream in found] == [f"{task}.trigger.7.log"]


def _take(account: Account) -> None:
    sqs = account.client("sqs")
    (message,) = sqs.receive_message(QueueUrl=account.queue)["Messages"]
    handle = message["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=account.queue, ReceiptHandle=handle, VisibilityTimeout=60)
    sqs.delete_message(QueueUrl=account.queue, ReceiptHandle=handle)


def test_mwaa_does_its_work_with_the_role(account: Account) -> None:
    """In this order: later calls need what earlier ones made."""
    for what, call in MWAA_NEEDS.items():
        try:
            call(account)
        except ClientError as error:
            pytest.fail(f"MWAA {what}: {error}")


FORBIDDEN: dict[str, Callable[[Account], Any]] = {
    "parameters of another environment": lambda a: a.client("ssm").get_parameter(
        Name="/prod/canvas_data_2/dap_client_id", WithDecryption=True
    ),
    "other parameters of its environment": lambda a: a.client("ssm").get_parameter(Name="/dev/other/password"),
    "writing its own parameters": lambda a: a.client("ssm").put_parameter(
        Name="/dev/canvas_data_2/dap_client_id", Value="x", Type="SecureString", Overwrite=True
    ),
    "listing parameters": lambda a: a.client("ssm").describe_parameters(),
    "another secret": lambda a: a.client("secretsmanager").get_secret_value(SecretId=a.other_secret),
    "changing its secret": lambda a: a.client("secretsmanager").put_secret_value(SecretId=a.secret, SecretString="{}"),
    "listing secrets": lambda a: a.client("secretsmanager").list_secrets(),
    "another topic": lambda a: a.client("sns").publish(TopicArn=a.other_topic, Message="x"),
    "subscribing to its topic": lambda a: a.client("sns").subscribe(
        TopicArn=a.topic, Protocol="email", Endpoint="a@example.org"
    ),
    "another bucket": lambda a: a.client("s3").get_object(Bucket="other-bucket", Key="dags/canvas_data_2.py"),
    "listing another bucket": lambda a: a.client("s3").list_objects_v2(Bucket="other-bucket"),
    "changing its own code": lambda a: a.client("s3").put_object(
        Bucket=a.bucket, Key="dags/canvas_data_2.py", Body=b"x"
    ),
    "deleting its own code": lambda a: a.client("s3").delete_object(Bucket=a.bucket, Key="dags/canvas_data_2.py"),
    "another queue": lambda a: a.client("sqs").receive_message(QueueUrl=a.other_queue),
    "writing to another queue": lambda a: a.client("sqs").send_message(QueueUrl=a.other_queue, MessageBody="x"),
    "deleting its queue": lambda a: a.client("sqs").delete_queue(QueueUrl=a.queue),
    "the key by itself, not through a service": lambda a: a.client("kms").encrypt(KeyId=a.key, Plaintext=b"x"),
    "deleting the key": lambda a: a.client("kms").schedule_key_deletion(KeyId=a.key),
    "other log groups": lambda a: a.client("logs").create_log_group(logGroupName="airflow-another-Task"),
    "reading other log groups": lambda a: a.client("logs").describe_log_streams(logGroupName="another-Task"),
    "deleting its log groups": lambda a: a.client("logs").delete_log_group(logGroupName=f"airflow-{a.name}-Task"),
    "reading users": lambda a: a.client("iam").list_users(),
    "making roles": lambda a: a.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}"),
    "its own policy": lambda a: a.client("iam").put_role_policy(
        RoleName=ROLE, PolicyName="more", PolicyDocument='{"Version": "2012-10-17", "Statement": []}'
    ),
    "other roles": lambda a: a.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{ROLE}", RoleSessionName="worker"
    ),
    "databases": lambda a: a.client("rds").describe_db_clusters(),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_may_not_touch(account: Account, what: str) -> None:
    with pytest.raises(ClientError) as caught:
        FORBIDDEN[what](account)
    assert caught.value.response["Error"]["Code"] in DENIED


def test_the_same_calls_succeed_for_an_administrator(account: Account) -> None:
    """So that a denial above is the role's, and not a call that could never succeed."""
    root = account.ministack
    root.client("ssm").get_parameter(Name="/prod/canvas_data_2/dap_client_id", WithDecryption=True)
    root.client("secretsmanager").get_secret_value(SecretId=account.other_secret)
    root.client("sns").publish(TopicArn=account.other_topic, Message="x")
    root.client("s3").get_object(Bucket="other-bucket", Key="dags/canvas_data_2.py")
    root.client("sqs").receive_message(QueueUrl=account.other_queue)
    root.client("kms").encrypt(KeyId=account.key, Plaintext=b"x")


def test_everything_is_granted_on_something_named_except_where_aws_knows_no_names(account: Account) -> None:
    on_everything = {
        action
        for statement in account.policy["Statement"]
        if "*" in resources(statement)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert on_everything == {"s3:GetAccountPublicAccessBlock", "logs:DescribeLogGroups", "cloudwatch:PutMetricData"}
