"""What the rights of whoever deploys allow only for some resources and requests, and what they must allow to destroy.

Decided by MiniStack's evaluator of policies; test_deploy_policy has what MiniStack enforces itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import deploy_policy
from tests.infra.decisions import Request, allowed
from tests.infra.plan import Workspace, planned, resources, variables

pytestmark = pytest.mark.infra

ACCOUNT = "123456789012"
REGIONS = {"eu-central-1": "aws", "us-gov-west-1": "aws-us-gov", "cn-north-1": "aws-cn"}
OURS, OTHERS = {"aws:ResourceTag/Project": "canvas-data-2"}, {"aws:ResourceTag/Project": "payroll"}


def rights(*parts: str, region: str = "eu-central-1") -> list[dict[str, Any]]:
    """The policies of these names."""
    made = deploy_policy.policies(region=region)
    return [made[part] for part in parts]


def decided(requests: dict[str, Request], *parts: str, region: str = "eu-central-1") -> dict[str, bool]:
    return dict(zip(requests, allowed(rights(*parts, region=region), requests.values()), strict=True))


def all_of(requests: dict[str, Request], answer: bool) -> dict[str, bool]:
    return dict.fromkeys(requests, answer)


@pytest.mark.parametrize("region", REGIONS)
def test_roles_are_passed_only_to_mwaa(region: str) -> None:
    ours = f"arn:{REGIONS[region]}:iam::{ACCOUNT}:role/canvas-data-2-dev-20261126"
    passed = "iam:PassedToService"
    yes: dict[str, Request] = {
        "to MWAA": ("iam:PassRole", ours, {passed: "airflow.amazonaws.com"}),
        "to an environment of MWAA": ("iam:PassRole", ours, {passed: "airflow-env.amazonaws.com"}),
    }
    no: dict[str, Request] = {
        "to EC2": ("iam:PassRole", ours, {passed: "ec2.amazonaws.com"}),
        "to Lambda": ("iam:PassRole", ours, {passed: "lambda.amazonaws.com"}),
        "to nobody that is named": ("iam:PassRole", ours, {}),
        "another role": (
            "iam:PassRole", f"arn:{REGIONS[region]}:iam::{ACCOUNT}:role/admin", {passed: "airflow.amazonaws.com"}
        ),
        "a role of another account": (
            "iam:PassRole", f"arn:{REGIONS[region]}:iam::999999999999:role/canvas-data-2-dev",
            {passed: "airflow.amazonaws.com"},
        ),
    }  # fmt: skip
    assert decided(yes | no, "deploy", "database", "network", region=region) == all_of(yes, True) | all_of(no, False)


def test_only_the_connector_of_athena_gets_a_role_for_lambda() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/canvas-data-2-dev-connector"
    requests: dict[str, Request] = {
        "ours": ("iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}),
        "another": ("iam:PassRole", f"{role[:30]}/admin", {"iam:PassedToService": "lambda.amazonaws.com"}),
    }
    assert decided(requests, "analytics") == {"ours": True, "another": False}


@pytest.mark.parametrize("region", REGIONS)
def test_service_linked_roles_are_made_for_mwaa_and_rds_and_for_no_other_service(region: str) -> None:
    def linked(service: str, name: str) -> Request:
        arn = f"arn:{REGIONS[region]}:iam::{ACCOUNT}:role/aws-service-role/{service}/{name}"
        return "iam:CreateServiceLinkedRole", arn, {"iam:AWSServiceName": service}

    mwaa = {"MWAA": linked("airflow.amazonaws.com", "AWSServiceRoleForAmazonMWAA")}
    rds = {"RDS": linked("rds.amazonaws.com", "AWSServiceRoleForRDS")}
    redshift = {"Redshift": linked("redshift.amazonaws.com", "AWSServiceRoleForRedshift")}
    others = {
        "ECS": linked("ecs.amazonaws.com", "AWSServiceRoleForECS"),
        "another of RDS": linked("rds.amazonaws.com", "AWSServiceRoleForRDSPreview"),
        "one by another service's name": linked("ecs.amazonaws.com", "AWSServiceRoleForAmazonMWAA"),
        "an ordinary role": ("iam:CreateServiceLinkedRole", f"arn:aws:iam::{ACCOUNT}:role/canvas-data-2-dev", {}),
    }
    every = mwaa | rds | redshift | others
    refused = all_of(every, False)
    assert decided(every, "deploy", region=region) == refused | {"MWAA": True}
    assert decided(every, "deploy", "database", region=region) == refused | {"MWAA": True, "RDS": True}
    assert decided(every, "analytics", region=region) == refused | {"Redshift": True}


@pytest.mark.parametrize("region", REGIONS)
def test_grants_on_the_key_are_for_services_of_aws_and_only_on_the_key_of_the_deployment(region: str) -> None:
    key = f"arn:{REGIONS[region]}:kms:{region}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    for_aws, by_hand = {"kms:GrantIsForAWSResource": "true"}, {"kms:GrantIsForAWSResource": "false"}
    yes: dict[str, Request] = {
        "RDS or MWAA for us": ("kms:CreateGrant", key, OURS | for_aws),
        "its end": ("kms:RevokeGrant", key, OURS | for_aws),
    }
    no: dict[str, Request] = {
        "by themselves": ("kms:CreateGrant", key, OURS | by_hand),
        "without a word of for whom": ("kms:CreateGrant", key, OURS),
        "on the key of others": ("kms:CreateGrant", key, OTHERS | for_aws),
        "on a key without tags": ("kms:CreateGrant", key, for_aws),
        "retiring": ("kms:RetireGrant", key, OURS | for_aws),
    }
    assert decided(yes | no, "deploy", region=region) == all_of(yes, True) | all_of(no, False)


def test_a_key_gets_the_tag_when_it_is_made_and_only_that_one_makes_it_ours() -> None:
    key = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    requests: dict[str, Request] = {
        "made with the tag": ("kms:TagResource", key, {"aws:RequestTag/Project": "canvas-data-2"}),
        "more tags of ours": ("kms:TagResource", key, OURS | {"aws:RequestTag/Owner": "me"}),
        "with another project's": ("kms:TagResource", key, {"aws:RequestTag/Project": "payroll"}),
        "of others": ("kms:TagResource", key, OTHERS | {"aws:RequestTag/Owner": "me"}),
    }
    expected = {
        "made with the tag": True,
        "more tags of ours": True,
        "with another project's": False,
        "of others": False,
    }
    assert decided(requests, "deploy") == expected


DELETED = {
    "aws_cloudwatch_dashboard": ("cloudwatch:DeleteDashboards", "cloudwatch::{account}:dashboard/{dashboard_name}"),
    "aws_cloudwatch_log_group": ("logs:DeleteLogGroup", "logs:{region}:{account}:log-group:{name}"),
    "aws_cloudwatch_metric_alarm": ("cloudwatch:DeleteAlarms", "cloudwatch:{region}:{account}:alarm:{alarm_name}"),
    "aws_db_subnet_group": ("rds:DeleteDBSubnetGroup", "rds:{region}:{account}:subgrp:{name}"),
    "aws_eip": ("ec2:ReleaseAddress", "ec2:{region}:{account}:elastic-ip/eipalloc-1"),
    "aws_internet_gateway": ("ec2:DeleteInternetGateway", "ec2:{region}:{account}:internet-gateway/igw-1"),
    "aws_kms_key": ("kms:ScheduleKeyDeletion", "kms:{region}:{account}:key/1"),
    "aws_kms_alias": ("kms:DeleteAlias", "kms:{region}:{account}:{name}"),
    "aws_mwaa_environment": ("airflow:DeleteEnvironment", "airflow:{region}:{account}:environment/{name}"),
    "aws_nat_gateway": ("ec2:DeleteNatGateway", "ec2:{region}:{account}:natgateway/nat-1"),
    "aws_rds_cluster": ("rds:DeleteDBCluster", "rds:{region}:{account}:cluster:{cluster_identifier}"),
    "aws_rds_cluster_instance": ("rds:DeleteDBInstance", "rds:{region}:{account}:db:{identifier}"),
    "aws_rds_cluster_parameter_group": (
        "rds:DeleteDBClusterParameterGroup", "rds:{region}:{account}:cluster-pg:{name}",
    ),
    "aws_route_table": ("ec2:DeleteRouteTable", "ec2:{region}:{account}:route-table/rtb-1"),
    "aws_security_group": ("ec2:DeleteSecurityGroup", "ec2:{region}:{account}:security-group/sg-1"),
    "aws_subnet": ("ec2:DeleteSubnet", "ec2:{region}:{account}:subnet/subnet-1"),
    "aws_vpc": ("ec2:DeleteVpc", "ec2:{region}:{account}:vpc/vpc-1"),
    "aws_vpc_endpoint": ("ec2:DeleteVpcEndpoints", "ec2:{region}:{account}:vpc-endpoint/vpce-1"),
}  # fmt: skip
"""How a resource is deleted: the action, and its ARN without the partition, of its planned values."""
ENFORCED = {
    "aws_iam_role", "aws_iam_role_policy", "aws_s3_bucket", "aws_s3_object", "aws_secretsmanager_secret",
    "aws_sns_topic", "aws_sns_topic_subscription", "aws_ssm_parameter",
}  # fmt: skip
"""By MiniStack, in test_deploy_policy."""
WITH_ANOTHER = {
    "aws_route", "aws_route_table_association", "aws_s3_bucket_lifecycle_configuration", "aws_s3_bucket_policy",
    "aws_s3_bucket_ownership_controls", "aws_s3_bucket_public_access_block", "aws_s3_bucket_versioning",
    "aws_s3_bucket_server_side_encryption_configuration", "aws_secretsmanager_secret_version", "aws_sns_topic_policy",
    "aws_vpc_security_group_egress_rule", "aws_vpc_security_group_ingress_rule",
}  # fmt: skip
"""Parts of another resource."""
TAGGED = {"ec2", "kms"}
"""Services whose resources are told by the tag, because their ARNs have no name of ours."""


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_whoever_deploys_can_destroy_all_that_is_planned_and_nothing_like_it(environment: str, tmp_path: Path) -> None:
    checkout = Workspace(tmp_path / "checkout")
    made = resources(checkout.plan(*variables(environment, create_network="true", interface_endpoints="true")))
    ours: dict[str, Request] = {}
    others: dict[str, Request] = {}
    for address, planned_values in made.items():
        found = re.search(r"(?:^|\.)(aws_\w+)\.", address)
        if not found:
            continue  # Terraform's own
        kind = found[1]
        if kind not in DELETED:
            assert kind in ENFORCED | WITH_ANOTHER, f"{kind}: how is it deleted?"
            continue
        action, template = DELETED[kind]
        arn = "arn:aws:" + template.format(**{"account": ACCOUNT} | planned_values | {"region": "us-east-1"})
        if action.partition(":")[0] in TAGGED and kind != "aws_kms_alias":
            others[f"{address} of others"] = (action, arn, OTHERS)
            others[f"{address} without tags"] = (action, arn, {})
        else:
            others[f"{address} of others"] = (action, arn.replace("canvas-data-2", "payroll"), OURS)
        ours[address] = (action, arn, OURS)
    assert len(ours) > 40
    every = decided(ours | others, "deploy", "database", "network", region="us-east-1")
    assert every == all_of(ours, True) | all_of(others, False)
    # The alias and the key: both are asked about.
    key = next(arn for action, arn, _ in ours.values() if action == "kms:ScheduleKeyDeletion")
    both: dict[str, Request] = {
        "ours": ("kms:DeleteAlias", key, OURS), "of others": ("kms:DeleteAlias", key, OTHERS),
    }  # fmt: skip
    assert decided(both, "deploy", region="us-east-1") == {"ours": True, "of others": False}


def test_what_is_made_has_the_tag() -> None:
    provider = planned("dev")["configuration"]["provider_config"]["aws"]["expressions"]
    assert "local.tags" in provider["default_tags"][0]["tags"]["references"]


def statements(action: str) -> list[dict[str, Any]]:
    found = [s for policy in deploy_policy.policies().values() for s in policy["Statement"] if action in s["Action"]]
    assert found, action
    return found


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
