"""What stands after the first apply: by the real Terraform with the offline provider."""

from __future__ import annotations

import io
import json
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.infra.deployment import Deployment
from tests.infra.plan import Workspace, changes, planned_role_policy, variables

pytestmark = pytest.mark.infra

OUTPUTS = {
    "region", "environment", "mwaa_environment_name", "webserver_url", "bucket_name", "execution_role_arn",
    "sns_topic_arn", "kms_key_arn", "database_cluster_arn", "database_admin_secret_arn", "database_name",
    "replication_secret_arn", "dap_parameter_names",
}  # fmt: skip
"""What the scripts read."""


def test_the_scripts_find_the_outputs_they_read(deployment: Deployment) -> None:
    outputs = {name: output["value"] for name, output in deployment.state()["outputs"].items()}
    assert outputs.keys() >= OUTPUTS
    assert [name for name in OUTPUTS if outputs[name] in (None, "")] == []
    assert outputs["dap_parameter_names"] == [
        "/dev/canvas_data_2/dap_client_id",
        "/dev/canvas_data_2/dap_client_secret",
    ]
    assert not any(output.get("sensitive") for output in deployment.state()["outputs"].values())


def test_everything_that_mwaa_needs_to_start_is_there_before_it_starts(deployment: Deployment) -> None:
    """MWAA installs requirements.txt while it starts; a constraints file that is not there then is only logged."""
    (environment,) = [each for each in deployment.state()["resources"] if each["type"] == "aws_mwaa_environment"]
    assert set(environment["instances"][0]["dependencies"]) >= {
        "module.storage.aws_s3_object.dag",  # the constraints file is one of them
        "module.storage.aws_s3_object.package",
        "module.storage.aws_s3_bucket_versioning.this",
        "module.storage.aws_s3_bucket_public_access_block.this",
        "module.environment.aws_iam_role_policy.this",
        "module.environment.aws_cloudwatch_log_group.this",
        "module.environment.aws_vpc_security_group_ingress_rule.self",
        "module.environment.aws_vpc_security_group_egress_rule.all",
        "module.network.aws_route.nat",
        "module.network.aws_route_table_association.private",
    }
    uploaded = [
        line for line in deployment.said.splitlines() if "Creation complete" in line and ".aws_s3_object." in line
    ]
    assert any('dag["constraints-3.3.1-canvas.txt"]' in line for line in uploaded)


def test_no_secret_is_in_plan_state_or_output(deployment: Deployment) -> None:
    """The marks are of the DAP key; `random_password-` is what the provider hands out as a password."""
    workspace = deployment.workspace
    with zipfile.ZipFile(io.BytesIO(deployment.first_plan_file)) as archive:
        planned = b"".join(archive.read(name) for name in archive.namelist()).decode(errors="replace")
    for place, text in {
        "plan": planned,
        "plan as JSON": json.dumps(deployment.first_plan),
        "state": workspace.state.read_text(),
        "output": deployment.said,
    }.items():
        for secret in ("client-secret-marker", "client-id-marker", "random_password-"):
            assert secret not in text, f"{secret} is in the {place}"
    # that something was written at all
    parameter = deployment.attributes("module.secrets", "aws_ssm_parameter.dap_client_secret")
    assert (parameter["type"], parameter["value_wo_version"], parameter["value_wo"]) == ("SecureString", 1, None)
    version = deployment.attributes("module.secrets", "aws_secretsmanager_secret_version.replication")
    assert (version["secret_string_wo_version"], version["secret_string_wo"]) == (1, None)


def test_the_key_that_was_given_and_a_new_password_are_what_is_written(deployment: Deployment) -> None:
    """Write-only values leave no trace but in the code: what their expressions refer to."""
    module = deployment.first_plan["configuration"]["root_module"]["module_calls"]["secrets"]["module"]
    written = {each["address"]: each["expressions"] for each in module["resources"]}
    for name in ("dap_client_id", "dap_client_secret"):
        assert f"var.{name}" in written[f"aws_ssm_parameter.{name}"]["value_wo"]["references"]
    secret = written["aws_secretsmanager_secret_version.replication"]["secret_string_wo"]["references"]
    assert "var.database" in secret
    assert "ephemeral.aws_secretsmanager_random_password.replication[0].random_password" in secret


def test_the_environment_is_made_with_the_versions_of_the_uploaded_files(deployment: Deployment) -> None:
    environment = deployment.attributes("module.environment", "aws_mwaa_environment.this")
    versions = {
        instance["index_key"]: instance["attributes"]["version_id"]
        for each in deployment.state()["resources"]
        if each["type"] == "aws_s3_object" and each["name"] == "package"
        for instance in each["instances"]
    }
    assert environment["plugins_s3_object_version"] == versions["plugins"]
    assert environment["requirements_s3_object_version"] == versions["requirements"]
    assert environment["startup_script_s3_object_version"] == versions["startup"]


def test_the_role_with_a_new_key_may_do_the_same_as_with_a_key_of_yours(deployment: Deployment) -> None:
    """The policy that is tested elsewhere is planned with a key that exists: with a new one it is not yet known."""
    applied = json.loads(deployment.attributes("module.environment", "aws_iam_role_policy.this")["policy"])
    key = deployment.attributes("module.encryption[0]", "aws_kms_key.this")["arn"]
    planned = planned_role_policy("dev")
    for statement in planned["Statement"]:
        if statement["Sid"] == "UseKey":
            statement["Resource"] = key
    assert applied == planned


def test_a_deployment_of_version_0_1_keeps_its_role_and_its_bucket(tmp_path: Path) -> None:
    """Their addresses in the state were others: a role that is made anew would leave MWAA without rights meanwhile."""
    workspace = Workspace(tmp_path / "checkout")
    workspace.apply(*variables("dev"))
    text = json.loads(workspace.state.read_text())
    for resource in text["resources"]:
        if resource["type"].startswith(("aws_iam_role", "aws_s3_bucket")):
            (instance,) = resource["instances"]
            assert instance.pop("index_key") == 0
    workspace.state.write_text(json.dumps(text))
    assert changes(workspace.plan(*variables("dev"))) == {}


def test_the_bucket_is_for_tls_only(deployment: Deployment) -> None:
    policy = json.loads(deployment.attributes("module.storage", "aws_s3_bucket_policy.tls_only")["policy"])
    bucket = deployment.attributes("module.storage", "aws_s3_bucket.this")["arn"]
    (statement,) = policy["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == [bucket, f"{bucket}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_alarms_and_the_dag_may_publish_to_the_topic_and_nobody_without_tls(deployment: Deployment) -> None:
    policy = json.loads(deployment.attributes("module.notifications", "aws_sns_topic_policy.this")["policy"])
    topic = deployment.state()["outputs"]["sns_topic_arn"]["value"]
    role = deployment.attributes("module.environment", "aws_iam_role.this")["arn"]
    alarms = {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:canvas-data-2-dev-*"},
    }
    told = [
        (s["Effect"], s["Principal"], s["Action"], s["Resource"], s.get("Condition")) for s in policy["Statement"]
    ]  # fmt: skip
    assert told == [
        ("Allow", {"Service": "cloudwatch.amazonaws.com"}, "sns:Publish", topic, alarms),
        ("Allow", {"AWS": role}, "sns:Publish", topic, None),
        ("Deny", "*", "sns:Publish", topic, {"Bool": {"aws:SecureTransport": "false"}}),
    ]


def test_logs_and_alarms_may_use_the_key_and_only_for_this_deployment(deployment: Deployment) -> None:
    policy = json.loads(deployment.attributes("module.encryption[0]", "aws_kms_key.this")["policy"])
    root, logs, alarms = policy["Statement"]
    assert root["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    assert logs["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    groups = logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
    names = [
        instance["attributes"]["name"]
        for each in deployment.state()["resources"]
        if each["type"] == "aws_cloudwatch_log_group"
        for instance in each["instances"]
    ]
    assert len(names) == 6
    for name in names:
        arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{name}"
        assert any(fnmatchcase(arn, group) for group in groups), name
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]
    # The encryption context that SNS sends to KMS, as AWS documents it; modules/encryption has the pages.
    topic = deployment.state()["outputs"]["sns_topic_arn"]["value"]
    assert alarms["Condition"] == {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topic}}


def test_every_service_that_publishes_to_the_topic_may_use_its_key(deployment: Deployment) -> None:
    """And nothing is made that would publish there but alarms."""
    topic = deployment.state()["outputs"]["sns_topic_arn"]["value"]
    allowed = json.loads(deployment.attributes("module.notifications", "aws_sns_topic_policy.this")["policy"])
    publishers = {
        s["Principal"]["Service"]
        for s in allowed["Statement"]
        if s["Effect"] == "Allow" and "Service" in s["Principal"]
    }
    key = json.loads(deployment.attributes("module.encryption[0]", "aws_kms_key.this")["policy"])
    context = "kms:EncryptionContext:aws:sns:topicArn"
    users = {
        s["Principal"]["Service"]
        for s in key["Statement"]
        if s.get("Condition", {}).get("StringEquals", {}).get(context) == topic
    }
    assert users == publishers == {"cloudwatch.amazonaws.com"}
    of_topic = {
        each["type"]
        for each in deployment.state()["resources"]
        for instance in each["instances"]
        if each["mode"] == "managed" and topic in json.dumps(instance["attributes"])
    }
    assert of_topic == {
        "aws_sns_topic_policy", "aws_cloudwatch_metric_alarm",
        "aws_kms_key", "aws_iam_role_policy", "aws_mwaa_environment",
    }  # fmt: skip


def test_the_dashboard_shows_every_alarm_and_what_is_alarmed_about(deployment: Deployment) -> None:
    dashboard = deployment.attributes("module.monitoring", "aws_cloudwatch_dashboard.this")
    alarms, *graphs = json.loads(dashboard["dashboard_body"])["widgets"]
    assert len(alarms["properties"]["alarms"]) == len(deployment.state()["outputs"]["alarm_names"]["value"]) == 8
    shown = {metric[1] for graph in graphs for metric in graph["properties"]["metrics"] if len(metric) > 1}
    assert shown >= {
        "DAGDurationSuccess", "DAGDurationFailed", "SchedulerHeartbeat", "QueuedTasks", "RunningTasks",
        "ACUUtilization", "VolumeBytesUsed", "FreshnessSeconds", "FailedTables",
    }  # fmt: skip
    places = [(widget["x"], widget["y"]) for widget in [alarms, *graphs]]
    assert len(set(places)) == len(places)
    assert all(widget["x"] + widget["width"] <= 24 for widget in [alarms, *graphs])
