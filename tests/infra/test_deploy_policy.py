"""With the rights of docs/deploy-policy*.json somebody can deploy what is planned, and touch nothing else.

The policies are on a role of MiniStack, which enforces IAM. It knows no tags of keys, and no names of dashboards, of
environments and of what EC2 makes, and asks for no right to pass a role: those statements are looked at instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from scripts import deploy_policy, deploy_rights
from tests.infra.ministack import ACCOUNT, REGION, MiniStack, running
from tests.infra.plan import FOLDER, planned

pytestmark = pytest.mark.infra

NAME = "canvas-data-2-dev"
BUCKET = f"{NAME}-{ACCOUNT}-{REGION}"
DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
}
TRUST = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "airflow.amazonaws.com"}, "Action": "sts:AssumeRole"}],
})  # fmt: skip


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


def statements(action: str) -> list[dict[str, Any]]:
    found = [s for policy in deploy_policy.policies().values() for s in policy["Statement"] if action in s["Action"]]
    assert found, action
    return found


def test_roles_are_passed_only_to_mwaa_and_to_the_connector_of_athena() -> None:
    passed = statements("iam:PassRole")
    assert {json.dumps(statement["Resource"]) for statement in passed} == {
        '["arn:aws:iam::123456789012:role/canvas-data-2-*"]'
    }
    assert [statement["Condition"]["StringEquals"]["iam:PassedToService"] for statement in passed] == [
        ["airflow.amazonaws.com", "airflow-env.amazonaws.com"],
        "lambda.amazonaws.com",
    ]
    policies = deploy_policy.policies()
    assert "lambda" not in json.dumps([policies[part] for part in ("deploy", "database", "network")])


@pytest.mark.parametrize(
    "action", ["kms:ScheduleKeyDeletion", "kms:Decrypt", "kms:CreateGrant", "ec2:DeleteVpc", "ec2:DeleteSecurityGroup"]
)
def test_keys_and_networks_of_others_are_out_of_reach(action: str) -> None:
    for statement in statements(action):
        assert statement["Condition"]["StringEquals"] == {"aws:ResourceTag/Project": "canvas-data-2"}
    assert planned("dev")["planned_values"]  # what is made has that tag
    provider = planned("dev")["configuration"]["provider_config"]["aws"]["expressions"]
    assert "local.tags" in provider["default_tags"][0]["tags"]["references"]


def test_what_ec2_makes_is_in_this_account_and_region() -> None:
    (made,) = {
        json.dumps(s["Resource"]) for action in ("ec2:CreateVpc", "ec2:CreateNatGateway") for s in statements(action)
    }
    assert json.loads(made) == ["arn:aws:ec2:us-east-1:123456789012:*"]


def test_dashboards_and_environments_are_ours() -> None:
    (dashboards,) = statements("cloudwatch:PutDashboard")
    assert dashboards["Resource"] == ["arn:aws:cloudwatch::123456789012:dashboard/canvas-data-2-*"]
    (environments,) = statements("airflow:CreateEnvironment")
    assert environments["Resource"] == ["arn:aws:airflow:us-east-1:123456789012:environment/canvas-data-2-*"]


def test_grants_are_only_for_services_of_aws() -> None:
    (grants,) = statements("kms:CreateGrant")
    assert grants["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": "true"}


class Deployer:
    """Who deploys."""

    def __init__(self, ministack: MiniStack, credentials: dict[str, str]) -> None:
        self.ministack, self._credentials = ministack, credentials

    def client(self, service: str) -> Any:
        return self.ministack.client(service, self._credentials)


@pytest.fixture(scope="module")
def deployer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    with running(tmp_path_factory.mktemp("ministack")) as ministack:
        iam = ministack.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        for name, policy in deploy_policy.policies(account=ACCOUNT, region=REGION).items():
            iam.put_role_policy(RoleName="deployer", PolicyName=name, PolicyDocument=json.dumps(policy))
        for bucket in ("warehouse", "other"):
            ministack.client("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        iam.create_role(RoleName="admin", AssumeRolePolicyDocument=TRUST)
        ministack.client("ssm").put_parameter(Name="/dev/payroll/password", Value="x", Type="SecureString")
        ministack.client("secretsmanager").create_secret(Name="dev/payroll", SecretString="x")
        ministack.client("sns").create_topic(Name="payroll")
        credentials = ministack.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
        yield Deployer(ministack, credentials)


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


def test_what_is_planned_can_be_made(deployer: Deployer) -> None:
    """In this order."""
    for what, call in DEPLOYS.items():
        try:
            call(deployer)
        except ClientError as error:
            pytest.fail(f"{what}: {error}")


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
    "functions": lambda d: d.client("lambda").list_functions(),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_else_is_touched(deployer: Deployer, what: str) -> None:
    with pytest.raises(ClientError) as caught:
        FORBIDDEN[what](deployer)
    assert caught.value.response["Error"]["Code"] in DENIED
