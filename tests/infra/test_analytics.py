"""modules/analytics, which is off by default: what it makes of Athena and zero-ETL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.infra.ministack import ACCOUNT, REGION, running
from tests.infra.plan import A_KEY, ANALYTICS_SCHEMA, FOLDER, Workspace, changes, resources, variables

pytestmark = pytest.mark.infra

EXAMPLE = (FOLDER / "analytics.tf.example").read_text()
MODULE = "module.analytics."


class Analytics:
    """A workspace with analytics.tf."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)

    def choose(
        self, *, athena: bool = True, zero_etl: bool = False, data_filter: str | None = None, more: str = ""
    ) -> None:
        text = EXAMPLE.replace("athena   = true", f"athena   = {json.dumps(athena)}")
        text = re.sub(r"zero_etl = false.*", f"zero_etl = {json.dumps(zero_etl)}", text)
        if data_filter:
            text = re.sub(r"# data_filter = .*", f"data_filter = {json.dumps(data_filter)}", text)
        (self.workspace.root_module / "analytics.tf").write_text(text.replace("\n\n", f"\n  {more}\n", 1))

    def plan(self, **inputs: Any) -> dict[str, Any]:
        return self.workspace.plan(*variables("dev", **{"kms_key_arn": A_KEY} | inputs))


@pytest.fixture(scope="module")
def analytics(tmp_path_factory: pytest.TempPathFactory) -> Analytics:
    return Analytics(tmp_path_factory.mktemp("analytics") / "checkout")


def made(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {a.removeprefix(MODULE): v for a, v in resources(plan).items() if a.startswith(MODULE)}


ZERO_ETL = {"database_min_capacity": 0.5, "database_logical_replication": True}


def test_it_is_off_by_default() -> None:
    assert 'source = "./modules/analytics"' not in "".join(path.read_text() for path in FOLDER.glob("*.tf"))
    text = (FOLDER / "modules" / "analytics" / "variables.tf").read_text()
    for name in ("athena", "zero_etl"):
        block = text.split(f'variable "{name}"')[1].split("\n}")[0]
        assert re.search(r"default +=\s*false", block)


def test_athena_reads_the_replica_in_its_vpc_and_by_tls(analytics: Analytics) -> None:
    analytics.choose()
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    found = made(analytics.plan(permissions_boundary_arn=boundary))
    assert found["aws_iam_role.connector[0]"]["permissions_boundary"] == boundary
    assert not [address for address in found if "redshift" in address or "integration" in address]
    stack = found["aws_serverlessapplicationrepository_cloudformation_stack.connector[0]"]
    assert stack["capabilities"]
    assert stack["application_id"].endswith(":applications/AthenaPostgreSQLConnector")
    rule = found["aws_vpc_security_group_ingress_rule.database[0]"]
    assert (rule["from_port"], rule["to_port"], rule.get("cidr_ipv4")) == (5432, 5432, None)
    catalog = found["aws_athena_data_catalog.replica[0]"]
    function = catalog["parameters"]["function"]
    assert catalog["type"] == "LAMBDA"
    assert function == "arn:aws:lambda:us-east-1:123456789012:function:canvas_data_2_dev_replica"
    (workgroup,) = found["aws_athena_workgroup.this[0]"]["configuration"]
    assert workgroup["enforce_workgroup_configuration"] is True


def test_applied_the_connector_knows_where_user_and_password_are_but_not_what(analytics: Analytics) -> None:
    analytics.choose()
    said = analytics.workspace.apply(*variables("dev", kms_key_arn=A_KEY))
    state = analytics.workspace.state.read_text()
    assert "random_password-" not in state + said
    (stack,) = [r for r in json.loads(state)["resources"] if r["type"].startswith("aws_serverlessapplication")]
    parameters = stack["instances"][0]["attributes"]["parameters"]
    assert re.fullmatch(
        r"postgres://jdbc:postgresql://[^:/]+:5432/cd2\?sslmode=require&\$\{canvas-data-2-dev/athena\}",
        parameters["DefaultConnectionString"],
    )
    assert parameters["SecretNamePrefix"] == "canvas-data-2-dev/athena"
    assert changes(analytics.plan()) == {}
    analytics.choose(athena=False)
    assert set(changes(analytics.plan()).values()) == {"delete"}


def test_zero_etl_is_for_named_tables_of_a_database_that_replicates(analytics: Analytics) -> None:
    analytics.choose(athena=False, zero_etl=True, data_filter="include: DATABASE.canvas.course_sections")
    plan = analytics.plan(**ZERO_ETL)
    found = made(plan)
    assert not [address for address in found if "athena" in address]
    assert found["aws_rds_integration.this[0]"]["data_filter"] == "include: DATABASE.canvas.course_sections"
    parameters = {
        p["parameter_key"]: p["parameter_value"]
        for p in found["aws_redshiftserverless_workgroup.this[0]"]["config_parameter"]
    }
    assert parameters["enable_case_sensitive_identifier"] == "true"
    workgroup = found["aws_redshiftserverless_workgroup.this[0]"]
    assert workgroup["publicly_accessible"] is False
    # AWS wants three zones for it (Redshift guide, considerations for Redshift Serverless): the network has two.
    assert workgroup["enhanced_vpc_routing"] is False
    zones = [v["availability_zone"] for a, v in resources(plan).items() if ".aws_subnet.private[" in a]
    assert len(zones) == 2
    group = resources(plan)["module.database[0].aws_rds_cluster_parameter_group.this"]["parameter"]
    assert {p["name"]: p["value"] for p in group if "logical" in p["name"]} == {
        "rds.logical_replication": "1",
        "aurora.enhanced_logical_replication": "1",
        "aurora.logical_replication_backup": "0",
        "aurora.logical_replication_globaldb": "0",
    }
    analytics.choose(athena=False, zero_etl=True)
    done = analytics.workspace.run("plan", *variables("dev", kms_key_arn=A_KEY, **ZERO_ETL))
    assert done.code == 1
    assert "zero_etl needs data_filter: most tables of Canvas have enumerations" in " ".join(done.said.split())
    analytics.choose(athena=False, zero_etl=True, more="enhanced_vpc_routing = true")
    done = analytics.workspace.run("plan", *variables("dev", kms_key_arn=A_KEY, **ZERO_ETL))
    assert done.code == 1
    assert "enhanced_vpc_routing needs subnets in at least three zones" in done.said


def test_zero_etl_applied_is_for_this_cluster_alone_and_goes_when_it_is_switched_off(analytics: Analytics) -> None:
    analytics.choose(athena=False, zero_etl=True, data_filter="include: DATABASE.canvas.course_sections")
    arguments = variables("dev", kms_key_arn=A_KEY, **ZERO_ETL)
    analytics.workspace.apply(*arguments)
    state = json.loads(analytics.workspace.state.read_text())
    done = {r["type"]: r["instances"][0]["attributes"] for r in state["resources"] if r["mode"] == "managed"}
    cluster, namespace = done["aws_rds_cluster"]["arn"], done["aws_redshiftserverless_namespace"]
    integration = done["aws_rds_integration"]
    assert (integration["source_arn"], integration["target_arn"]) == (cluster, namespace["arn"])
    assert done["aws_redshiftserverless_workgroup"]["namespace_name"] == namespace["namespace_name"]
    policy = done["aws_redshift_resource_policy"]
    assert policy["resource_arn"] == namespace["arn"]
    account = "arn:aws:iam::123456789012:root"
    assert json.loads(policy["policy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "redshift.amazonaws.com"},
            "Action": "redshift:AuthorizeInboundIntegration",
            "Resource": namespace["arn"],
            "Condition": {"StringEquals": {"aws:SourceArn": cluster}},
        },
        {
            "Effect": "Allow",
            "Principal": {"AWS": account},
            "Action": "redshift:CreateInboundIntegration",
            "Resource": namespace["arn"],
        },
    ]
    assert namespace["admin_user_password"] is None  # AWS makes it, and keeps it in a secret of its own
    assert changes(analytics.plan(**ZERO_ETL)) == {}
    analytics.choose(athena=False, zero_etl=False)
    gone = changes(analytics.plan(**ZERO_ETL))
    assert set(gone.values()) == {"delete"}
    assert all(address.startswith(MODULE) for address in gone)
    analytics.workspace.apply(*arguments)
    assert "redshift" not in analytics.workspace.state.read_text()


def test_the_schema_is_that_of_the_provider_that_is_used() -> None:
    pinned = re.search(r'version = "(\d+\.\d+\.\d+)"', (FOLDER / "versions.tf").read_text())
    known = json.loads(ANALYTICS_SCHEMA.read_text())
    assert pinned
    assert known["provider_version"] == pinned[1], f"read {ANALYTICS_SCHEMA.name} anew from its source"
    written = "".join(path.read_text() for path in (FOLDER / "modules" / "analytics").glob("*.tf"))
    assert [kind for kind in known["resource_schemas"] if f'resource "{kind}"' not in written] == []


def enter_vpc(ec2: Any) -> None:
    """What Lambda does with a function's role: AWS's policy AWSLambdaVPCAccessExecutionRole names the rights."""
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.describe_network_interfaces(NetworkInterfaceIds=[made])
    calls: list[Callable[[], Any]] = [
        lambda: ec2.assign_private_ip_addresses(NetworkInterfaceId=made, SecondaryPrivateIpAddressCount=1),
        lambda: ec2.unassign_private_ip_addresses(NetworkInterfaceId=made, PrivateIpAddresses=["172.31.0.9"]),
    ]
    for call in calls:
        # MiniStack has no such calls, but looks first whether they are allowed.
        with pytest.raises(ClientError, match="InvalidAction"):
            call()
    ec2.delete_network_interface(NetworkInterfaceId=made)


def test_the_connector_may_read_its_secret_spill_and_enter_the_vpc_and_nothing_else(
    analytics: Analytics, tmp_path_factory: pytest.TempPathFactory
) -> None:
    analytics.choose()
    policy = made(analytics.plan())["aws_iam_role_policy.connector[0]"]["policy"]
    policy = policy.replace("us-east-1", REGION).replace("123456789012", ACCOUNT)
    bucket = f"canvas-data-2-dev-athena-{ACCOUNT}-{REGION}"
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    with running(tmp_path_factory.mktemp("ministack")) as ministack:
        root = ministack.client
        for name in ("canvas-data-2-dev/athena", "dev/canvas_data_2/database"):
            root("secretsmanager").create_secret(Name=name, SecretString="{}")
        for each in (bucket, "warehouse"):
            root("s3").create_bucket(Bucket=each, CreateBucketConfiguration={"LocationConstraint": REGION})
            root("s3").put_object(Bucket=each, Key="results/1", Body=b"x")
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = root("iam").create_role(RoleName="connector", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        root("iam").put_role_policy(RoleName="connector", PolicyName="planned", PolicyDocument=policy)
        credentials = root("sts").assume_role(RoleArn=role, RoleSessionName="function")["Credentials"]
        used = ("secretsmanager", "s3", "logs", "kms", "ec2")
        connector = {name: ministack.client(name, credentials) for name in used}
        connector["secretsmanager"].get_secret_value(SecretId="canvas-data-2-dev/athena")
        connector["s3"].put_object(Bucket=bucket, Key="spill/1", Body=b"x")
        connector["s3"].get_object(Bucket=bucket, Key="spill/1")
        # Whether the bucket is its account's, as versions of the connector ask.
        connector["s3"].head_bucket(Bucket=bucket)
        assert bucket in {each["Name"] for each in connector["s3"].list_buckets()["Buckets"]}
        connector["logs"].create_log_group(logGroupName="/aws/lambda/canvas_data_2_dev_replica")
        enter_vpc(connector["ec2"])
        refused: list[Callable[[], Any]] = [
            lambda: connector["secretsmanager"].get_secret_value(SecretId="dev/canvas_data_2/database"),
            lambda: connector["s3"].get_object(Bucket=bucket, Key="results/1"),
            lambda: connector["s3"].get_object(Bucket="warehouse", Key="results/1"),
            lambda: connector["s3"].delete_object(Bucket=bucket, Key="spill/1"),
            lambda: connector["logs"].create_log_group(logGroupName="/aws/lambda/another"),
            lambda: connector["kms"].list_keys(),
            lambda: connector["ec2"].describe_instances(),
            lambda: connector["ec2"].create_security_group(GroupName="open", Description="open"),
        ]
        for call in refused:
            with pytest.raises(ClientError, match=r"AccessDenied|UnauthorizedOperation"):
                call()
