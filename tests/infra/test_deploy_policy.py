"""With the rights of docs/deploy-policy*.json somebody can deploy what is planned, and touch nothing else.

The policies are on a role of MiniStack, which enforces IAM. What it cannot enforce is in test_deploy_conditions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from scripts import deploy_policy, deploy_rights
from tests.infra.deployer import BUCKET, DENIED, NAME, TRUST, Deployer, deploying
from tests.infra.ministack import ACCOUNT, REGION
from tests.infra.plan import FOLDER, planned

pytestmark = pytest.mark.infra

TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:{NAME}"
RIGHTS = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
RIGHTS_ON_BUCKET = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*",
        "Condition": {"Bool": {"aws:SecureTransport": "nothing"}},
    }],
})  # fmt: skip


def test_the_files_are_those_of_the_code() -> None:
    for name, made in deploy_policy.policies().items():
        assert json.loads(deploy_policy.FILES[name].read_text()) == made, "python -m scripts.deploy_policy --write"


def test_every_type_that_is_planned_has_its_rights_and_no_other() -> None:
    """A new resource in infra/terraform needs an entry in scripts/deploy_rights.py."""
    written = set().union(*(deploy_policy.types(path) for path in [FOLDER, *(FOLDER / "modules").iterdir()]))
    assert set(deploy_rights.OF_TYPES) == written
    made = {change["type"] for change in planned("prod", interface_endpoints="true")["resource_changes"]}
    assert {name for name in made if name.startswith("aws_")} <= written


def test_what_is_on_everything_only_looks_or_makes_what_has_no_name_yet() -> None:
    for policy in deploy_policy.policies().values():
        for statement in policy["Statement"]:
            if "*" in statement["Resource"] and "Condition" not in statement:
                free = re.compile(
                    r":(Describe\*|List\w+|GetRandomPassword|GetAccountPublicAccessBlock|CreateKey|Unsubscribe)$"
                )
                assert [action for action in statement["Action"] if not free.search(action)] == []
            assert not {"iam:*", "*", "kms:*", "s3:*", "ec2:*"} & set(statement["Action"])


@pytest.fixture(scope="module")
def deployer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    with deploying(tmp_path_factory.mktemp("ministack")) as somebody:
        yield somebody


DEPLOYS: dict[str, Callable[[Deployer], Any]] = {
    "the bucket": lambda d: d.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    ),
    "its versions": lambda d: d.client("s3").put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
    ),
    "its tags": lambda d: d.client("s3").put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": []}),
    "its policy": lambda d: d.client("s3").put_bucket_policy(
        Bucket=BUCKET, Policy=RIGHTS_ON_BUCKET
    ),
    "that it is closed": lambda d: d.client("s3").put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    ),
    "a DAG": lambda d: d.client("s3").put_object(Bucket=BUCKET, Key="dags/canvas_data_2.py", Body=b"#"),
    "a look at it": lambda d: d.client("s3").head_object(Bucket=BUCKET, Key="dags/canvas_data_2.py"),
    "its versions, listed": lambda d: d.client("s3").list_object_versions(Bucket=BUCKET),
    "the role": lambda d: d.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=TRUST),
    "its policy of rights": lambda d: d.client("iam").put_role_policy(
        RoleName=NAME, PolicyName="execution", PolicyDocument=RIGHTS
    ),
    "a look at the role": lambda d: d.client("iam").get_role(RoleName=NAME),
    "its policies": lambda d: d.client("iam").list_role_policies(RoleName=NAME),
    "a key": lambda d: d.client("kms").create_key(Tags=[{"TagKey": "Project", "TagValue": "canvas-data-2"}]),
    "the DAP key": lambda d: d.client("ssm").put_parameter(
        Name="/dev/canvas_data_2/dap_client_id", Value="x", Type="SecureString"
    ),
    "a look at it in SSM": lambda d: d.client("ssm").get_parameter(Name="/dev/canvas_data_2/dap_client_id"),
    "the secret": lambda d: d.client("secretsmanager").create_secret(
        Name="dev/canvas_data_2/database", SecretString="{}"
    ),
    "its value": lambda d: d.client("secretsmanager").get_secret_value(SecretId="dev/canvas_data_2/database"),
    "a password": lambda d: d.client("secretsmanager").get_random_password(),
    "the topic": lambda d: d.client("sns").create_topic(Name=NAME),
    "a subscriber": lambda d: d.client("sns").subscribe(
        TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:{NAME}", Protocol="email", Endpoint="a@example.org"
    ),
    "a log group": lambda d: d.client("logs").create_log_group(logGroupName=f"airflow-{NAME}-Task"),
    "how long logs are kept": lambda d: d.client("logs").put_retention_policy(
        logGroupName=f"airflow-{NAME}-Task", retentionInDays=30
    ),
    "a log group of Aurora": lambda d: d.client("logs").create_log_group(
        logGroupName=f"/aws/rds/cluster/{NAME}/postgresql"
    ),
    "an alarm": lambda d: d.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{NAME}-run-failed", Namespace="n", MetricName="m", Period=300, Statistic="Sum", EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold", Threshold=1.0,
    ),
    "the check of alarms": lambda d: d.client("cloudwatch").set_alarm_state(
        AlarmName=f"{NAME}-run-failed", StateValue="OK", StateReason="test"
    ),
    "its queue": lambda d: d.client("sqs").create_queue(QueueName=f"{NAME}-alarm-check-1234abcd"),
    "a look at networks": lambda d: d.client("ec2").describe_vpcs(),
    "a subnet group": lambda d: d.client("rds").describe_db_subnet_groups(),
    "a look at clusters": lambda d: d.client("rds").describe_db_clusters(),
}  # fmt: skip


def emptied(d: Deployer) -> None:
    """As make destroy empties the bucket."""
    s3 = d.client("s3")
    found = s3.list_object_versions(Bucket=BUCKET)
    for version in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket_policy(Bucket=BUCKET)


def unsubscribed(d: Deployer) -> None:
    sns = d.client("sns")
    for each in sns.list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]:
        sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])


def key_deleted(d: Deployer) -> None:
    """The only one with the deployment's tag."""
    kms = d.ministack.client("kms")
    for key in (each["KeyId"] for each in kms.list_keys()["Keys"]):
        if {"TagKey": "Project", "TagValue": "canvas-data-2"} in kms.list_resource_tags(KeyId=key)["Tags"]:
            d.client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
            return
    raise AssertionError("there is none")


DESTROYS: dict[str, Callable[[Deployer], Any]] = {
    "a look for snapshots": lambda d: d.client("rds").describe_db_cluster_snapshots(DBClusterIdentifier=NAME),
    "a look at the cluster": lambda d: d.client("rds").describe_db_clusters(),
    "the subscribers": unsubscribed,
    "the topic": lambda d: d.client("sns").delete_topic(TopicArn=TOPIC),
    "the queue of the check": lambda d: d.client("sqs").delete_queue(
        QueueUrl=d.ministack.client("sqs").get_queue_url(QueueName=f"{NAME}-alarm-check-1234abcd")["QueueUrl"]
    ),
    "the DAP key": lambda d: d.client("ssm").delete_parameter(Name="/dev/canvas_data_2/dap_client_id"),
    "the secret": lambda d: d.client("secretsmanager").delete_secret(
        SecretId="dev/canvas_data_2/database", RecoveryWindowInDays=30
    ),
    "the secret, restored by the next life": lambda d: d.client("secretsmanager").restore_secret(
        SecretId="dev/canvas_data_2/database"
    ),
    "the policy of rights": lambda d: d.client("iam").delete_role_policy(RoleName=NAME, PolicyName="execution"),
    "the role": lambda d: d.client("iam").delete_role(RoleName=NAME),
    "files and versions": emptied,
    "the bucket": lambda d: d.client("s3").delete_bucket(Bucket=BUCKET),
    "a look for log groups": lambda d: d.client("logs").describe_log_groups(logGroupNamePrefix=f"airflow-{NAME}-"),
    "a log group": lambda d: d.client("logs").delete_log_group(logGroupName=f"airflow-{NAME}-Task"),
    "a log group of Aurora": lambda d: d.client("logs").delete_log_group(
        logGroupName=f"/aws/rds/cluster/{NAME}/postgresql"
    ),
    "the key": key_deleted,
}  # fmt: skip


def test_what_is_planned_can_be_made_and_destroyed(deployer: Deployer) -> None:
    """In this order; and nothing of it is left."""
    for what, call in [*DEPLOYS.items(), *DESTROYS.items()]:
        try:
            call(deployer)
        except ClientError as error:
            pytest.fail(f"{what}: {error}")
    assert BUCKET not in [b["Name"] for b in deployer.ministack.client("s3").list_buckets()["Buckets"]]
    assert NAME not in [r["RoleName"] for r in deployer.ministack.client("iam").list_roles()["Roles"]]
    assert TOPIC not in [t["TopicArn"] for t in deployer.ministack.client("sns").list_topics()["Topics"]]


FORBIDDEN: dict[str, Callable[[Deployer], Any]] = {
    "another bucket": lambda d: d.client("s3").put_object(Bucket="warehouse", Key="x", Body=b"x"),
    "reading another bucket": lambda d: d.client("s3").list_objects_v2(Bucket="warehouse"),
    "making another bucket": lambda d: d.client("s3").create_bucket(
        Bucket="mine", CreateBucketConfiguration={"LocationConstraint": REGION}
    ),
    "deleting another bucket": lambda d: d.client("s3").delete_bucket(Bucket="other"),
    "making another role": lambda d: d.client("iam").create_role(RoleName="mine", AssumeRolePolicyDocument=TRUST),
    "the rights of another role": lambda d: d.client("iam").put_role_policy(
        RoleName="admin", PolicyName="p", PolicyDocument=RIGHTS
    ),
    "its own rights": lambda d: d.client("iam").put_role_policy(
        RoleName="deployer", PolicyName="p", PolicyDocument=RIGHTS
    ),
    "managed policies, to be an administrator": lambda d: d.client("iam").attach_role_policy(
        RoleName=NAME, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
    ),
    "users": lambda d: d.client("iam").create_user(UserName="me"),
    "access keys": lambda d: d.client("iam").create_access_key(UserName="admin"),
    "other parameters": lambda d: d.client("ssm").get_parameter(Name="/dev/payroll/password"),
    "other secrets": lambda d: d.client("secretsmanager").get_secret_value(SecretId="dev/payroll"),
    "other topics": lambda d: d.client("sns").delete_topic(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:payroll"),
    "other queues": lambda d: d.client("sqs").create_queue(QueueName="payroll"),
    "other log groups": lambda d: d.client("logs").create_log_group(logGroupName="airflow-payroll-Task"),
    "other alarms": lambda d: d.client("cloudwatch").set_alarm_state(
        AlarmName="payroll", StateValue="OK", StateReason="x"
    ),
    "a key that is not ours": lambda d: d.client("kms").schedule_key_deletion(
        KeyId=d.ministack.client("kms").create_key()["KeyMetadata"]["Arn"]
    ),
    "a network that is not ours": lambda d: d.client("ec2").delete_vpc(
        VpcId=d.ministack.client("ec2").create_vpc(CidrBlock="10.9.0.0/22")["Vpc"]["VpcId"]
    ),
    "another cluster": lambda d: d.client("rds").delete_db_cluster(
        DBClusterIdentifier="payroll", SkipFinalSnapshot=True
    ),
    "deleting the files of another bucket": lambda d: d.client("s3").delete_object(Bucket="warehouse", Key="x"),
    "deleting another role": lambda d: d.client("iam").delete_role(RoleName="admin"),
    "deleting other parameters": lambda d: d.client("ssm").delete_parameter(Name="/dev/payroll/password"),
    "deleting other secrets": lambda d: d.client("secretsmanager").delete_secret(SecretId="dev/payroll"),
    "deleting other log groups": lambda d: d.client("logs").delete_log_group(logGroupName="airflow-payroll-Task"),
    "reading with a key that is not ours": lambda d: d.client("kms").encrypt(
        KeyId=d.ministack.client("kms").create_key()["KeyMetadata"]["Arn"], Plaintext=b"x"
    ),
    "making a key that says it is ours to nobody": lambda d: (
        d.client("kms").create_key(Tags=[{"TagKey": "Project", "TagValue": "payroll"}])
        and d.client("kms").tag_resource(
            KeyId=d.ministack.client("kms").create_key()["KeyMetadata"]["Arn"],
            Tags=[{"TagKey": "Project", "TagValue": "payroll"}],
        )
    ),
    "a grant of their own on the key": lambda d: d.client("kms").create_grant(
        KeyId=d.client("kms").create_key(Tags=[{"TagKey": "Project", "TagValue": "canvas-data-2"}])["KeyMetadata"][
            "Arn"
        ],
        GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:role/admin",
        Operations=["Decrypt"],
    ),
    "functions": lambda d: d.client("lambda").list_functions(),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_else_is_touched(deployer: Deployer, what: str) -> None:
    with pytest.raises(ClientError) as caught:
        FORBIDDEN[what](deployer)
    assert caught.value.response["Error"]["Code"] in DENIED
