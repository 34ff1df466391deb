"""A deployment comes, changes and goes as it should, applied by the real Terraform with the offline provider.

One deployment for the whole file, in order: apply, change, destroy.
"""

from __future__ import annotations

import json
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.infra.plan import Workspace, changes, planned_role_policy, resources, variables

pytestmark = pytest.mark.infra

ENVIRONMENT = "module.environment.aws_mwaa_environment.this"
SECRET_VERSION = "module.secrets.aws_secretsmanager_secret_version.replication[0]"
KEY = {"TF_VAR_dap_client_id": "us-east-1#client-id-marker", "TF_VAR_dap_client_secret": "client-secret-marker"}
OUTPUTS = {
    "region", "environment", "mwaa_environment_name", "webserver_url", "bucket_name", "execution_role_arn",
    "sns_topic_arn", "kms_key_arn", "database_cluster_arn", "database_admin_secret_arn", "database_name",
    "replication_secret_arn", "dap_parameter_names",
}  # fmt: skip
"""What the scripts read."""


class Deployment:
    """A workspace that was applied once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.first_plan = workspace.plan(*variables("dev"), **KEY)
        self.said = workspace.apply(*variables("dev"), **KEY)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.workspace.state.read_text())
        return state

    def attributes(self, module: str, resource: str) -> dict[str, Any]:
        """Of the one resource of a type in a module, as the state has them."""
        (found,) = [
            instance["attributes"]
            for each in self.state()["resources"]
            if each.get("module", "") == module and f"{each['type']}.{each['name']}" == resource
            for instance in each["instances"]
        ]
        return dict(found)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(Workspace(tmp_path_factory.mktemp("deployment") / "checkout"))


def test_the_scripts_find_the_outputs_they_read(deployment: Deployment):
    outputs = {name: output["value"] for name, output in deployment.state()["outputs"].items()}
    assert outputs.keys() >= OUTPUTS
    assert [name for name in OUTPUTS if outputs[name] in (None, "")] == []
    assert outputs["dap_parameter_names"] == [
        "/dev/canvas_data_2/dap_client_id",
        "/dev/canvas_data_2/dap_client_secret",
    ]
    assert not any(output.get("sensitive") for output in deployment.state()["outputs"].values())


def test_everything_that_mwaa_needs_to_start_is_there_before_it_starts(deployment: Deployment):
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


def test_no_secret_is_in_plan_state_or_output(deployment: Deployment):
    """The marks are of the DAP key; `random_password-` is what the provider hands out as a password."""
    workspace = deployment.workspace
    with zipfile.ZipFile(workspace.folder / "plan") as archive:
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


def test_the_key_that_was_given_and_a_new_password_are_what_is_written(deployment: Deployment):
    """Write-only values leave no trace but in the code: what their expressions refer to."""
    module = deployment.first_plan["configuration"]["root_module"]["module_calls"]["secrets"]["module"]
    written = {each["address"]: each["expressions"] for each in module["resources"]}
    for name in ("dap_client_id", "dap_client_secret"):
        assert f"var.{name}" in written[f"aws_ssm_parameter.{name}"]["value_wo"]["references"]
    secret = written["aws_secretsmanager_secret_version.replication"]["secret_string_wo"]["references"]
    assert "var.database" in secret
    assert "ephemeral.aws_secretsmanager_random_password.replication[0].random_password" in secret


def test_the_environment_is_made_with_the_versions_of_the_uploaded_files(deployment: Deployment):
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


def test_the_role_with_a_new_key_may_do_the_same_as_with_a_key_of_yours(deployment: Deployment):
    """The policy that is tested elsewhere is planned with a key that exists: with a new one it is not yet known."""
    applied = json.loads(deployment.attributes("module.environment", "aws_iam_role_policy.this")["policy"])
    key = deployment.attributes("module.encryption[0]", "aws_kms_key.this")["arn"]
    planned = planned_role_policy("dev")
    for statement in planned["Statement"]:
        if statement["Sid"] == "UseKey":
            statement["Resource"] = key
    assert applied == planned


def test_the_bucket_is_for_tls_only(deployment: Deployment):
    policy = json.loads(deployment.attributes("module.storage", "aws_s3_bucket_policy.tls_only")["policy"])
    bucket = deployment.attributes("module.storage", "aws_s3_bucket.this")["arn"]
    (statement,) = policy["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == [bucket, f"{bucket}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_alarms_and_the_dag_may_publish_to_the_topic_and_nobody_without_tls(deployment: Deployment):
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


def test_logs_and_alarms_may_use_the_key_and_only_for_this_deployment(deployment: Deployment):
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
    assert alarms["Condition"]["ArnLike"]["aws:SourceArn"].endswith(":alarm:canvas-data-2-dev-*")


def test_the_dashboard_shows_every_alarm_and_what_is_alarmed_about(deployment: Deployment):
    dashboard = deployment.attributes("module.monitoring", "aws_cloudwatch_dashboard.this")
    alarms, *graphs = json.loads(dashboard["dashboard_body"])["widgets"]
    assert len(alarms["properties"]["alarms"]) == len(deployment.state()["outputs"]["alarm_names"]["value"]) == 6
    shown = {metric[1] for graph in graphs for metric in graph["properties"]["metrics"]}
    assert shown >= {
        "DAGDurationSuccess", "DAGDurationFailed", "SchedulerHeartbeat", "ApproximateAgeOfOldestTask", "ACUUtilization",
        "VolumeBytesUsed",
    }  # fmt: skip
    places = [(widget["x"], widget["y"]) for widget in [alarms, *graphs]]
    assert len(set(places)) == len(places)
    assert all(widget["x"] + widget["width"] <= 24 for widget in [alarms, *graphs])


def test_applied_again_there_is_nothing_to_do(deployment: Deployment):
    done = deployment.workspace.run(
        "plan", "-detailed-exitcode", f"-state={deployment.workspace.state}", *variables("dev"), **KEY
    )
    assert done.code == 0, done.said
    assert "No changes" in done.said


def test_what_a_person_set_in_ssm_is_left_alone(deployment: Deployment):
    """Another key in the environment, or none, is not written unless its version is raised."""
    assert changes(deployment.workspace.plan(*variables("dev"))) == {}
    raised = changes(deployment.workspace.plan(*variables("dev", dap_key_version=2), **KEY))
    assert raised == {
        "module.secrets.aws_ssm_parameter.dap_client_id": "update",
        "module.secrets.aws_ssm_parameter.dap_client_secret": "update",
    }


def test_a_new_password_is_made_when_asked_for(deployment: Deployment):
    raised = changes(deployment.workspace.plan(*variables("dev", replication_password_version=2)))
    assert raised == {SECRET_VERSION: "update"}


def test_a_new_user_or_address_of_the_database_reaches_its_secret(deployment: Deployment):
    """Terraform cannot compare what it does not keep."""
    renamed = changes(deployment.workspace.plan(*variables("dev", replication_user_name="loader")))
    assert renamed == {"module.secrets.terraform_data.database[0]": "update", SECRET_VERSION: "delete/create"}


def test_every_change_of_code_is_uploaded_and_nothing_else(deployment: Deployment):
    objects = {
        "dist/plugins.zip": 'package["plugins"]',
        "dist/requirements.txt": 'package["requirements"]',
        "dist/startup.sh": 'package["startup"]',
        "dags/canvas_data_2.py": 'dag["canvas_data_2.py"]',
        "dags/constraints-3.3.1-canvas.txt": 'dag["constraints-3.3.1-canvas.txt"]',
    }
    before = {path: path.read_bytes() for path in (deployment.workspace.folder / file for file in objects)}
    try:
        for path, content in before.items():
            path.write_bytes(content + b"\n# changed\n")
        planned = changes(deployment.workspace.plan(*variables("dev")))
        assert planned == {f"module.storage.aws_s3_object.{address}": "update" for address in objects.values()}
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def test_files_come_and_go_and_caches_stay_here(deployment: Deployment):
    dags = deployment.workspace.dags
    more = [
        dags / "reports" / "after.py",
        dags / "__pycache__" / "x.pyc",
        dags / "reports" / "old.pyc",
        dags / ".DS_Store",
    ]
    try:
        for path in more:
            path.parent.mkdir(exist_ok=True)
            path.write_text("#")
        planned = changes(deployment.workspace.plan(*variables("dev")))
        assert planned == {'module.storage.aws_s3_object.dag["reports/after.py"]': "create"}
    finally:
        for path in more:
            path.unlink()


def test_everything_goes_again(deployment: Deployment):
    """The environment before what it needs: its network, its role, its files, its logs."""
    workspace = deployment.workspace
    said = workspace.run("destroy", "-auto-approve", f"-state={workspace.state}", *variables("dev")).check()
    assert deployment.state()["resources"] == []
    lines = said.splitlines()
    (gone,) = [number for number, line in enumerate(lines) if line.startswith(f"{ENVIRONMENT}: Destruction complete")]
    for later in (
        "module.environment.aws_iam_role_policy.this",
        'module.environment.aws_cloudwatch_log_group.this["Task"]',
        "module.environment.aws_security_group.this",
        'module.storage.aws_s3_object.package["plugins"]',
        "module.network[0].aws_nat_gateway.this[0]",
    ):
        (begins,) = [number for number, line in enumerate(lines) if line.startswith(f"{later}: Destroying")]
        assert gone < begins, later


def test_a_database_of_your_own_comes_and_goes_too(tmp_path: Path):
    workspace = Workspace(tmp_path / "checkout")
    own = variables(
        "prod",
        create_network=False,
        nat_gateway_per_zone=False,
        vpc_id="vpc-1",
        private_subnet_ids=["subnet-1", "subnet-2"],
        create_database=False,
        database_secret_arn="arn:aws:secretsmanager:us-east-1:123456789012:secret:warehouse-AbCdEf",
        database_security_group_id="sg-0123456789abcdef0",
    )
    workspace.apply(*own)
    assert changes(workspace.plan(*own)) == {}
    outputs = json.loads(workspace.state.read_text())["outputs"]
    assert outputs["replication_secret_arn"]["value"].endswith("warehouse-AbCdEf")
    assert "database_cluster_arn" not in outputs or outputs["database_cluster_arn"]["value"] is None
    kinds = {address.split(".")[-2] for address in resources(workspace.plan(*own))}
    assert "aws_rds_cluster" not in kinds
    assert "aws_secretsmanager_secret" not in kinds
    workspace.run("destroy", "-auto-approve", f"-state={workspace.state}", *own).check()
    assert json.loads(workspace.state.read_text())["resources"] == []
