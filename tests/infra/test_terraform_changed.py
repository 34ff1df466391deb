"""A deployment changes and goes as it should: by the real Terraform with the offline provider."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.infra.deployment import KEY, Deployment
from tests.infra.plan import Workspace, changes, resources, variables

pytestmark = pytest.mark.infra

ENVIRONMENT = "module.environment.aws_mwaa_environment.this"
SECRET_VERSION = "module.secrets.aws_secretsmanager_secret_version.replication[0]"


def test_applied_again_there_is_nothing_to_do(deployment: Deployment) -> None:
    done = deployment.workspace.run(
        "plan", "-detailed-exitcode", f"-state={deployment.workspace.state}", *variables("dev"), **KEY
    )
    assert done.code == 0, done.said
    assert "No changes" in done.said


def test_what_a_person_set_in_ssm_is_left_alone(deployment: Deployment) -> None:
    """Another key in the environment, or none, is not written unless its version is raised."""
    assert changes(deployment.workspace.plan(*variables("dev"))) == {}
    raised = changes(deployment.workspace.plan(*variables("dev", dap_key_version=2), **KEY))
    assert raised == {
        "module.secrets.aws_ssm_parameter.dap_client_id": "update",
        "module.secrets.aws_ssm_parameter.dap_client_secret": "update",
    }


def test_a_new_password_is_made_when_asked_for(deployment: Deployment) -> None:
    raised = changes(deployment.workspace.plan(*variables("dev", replication_password_version=2)))
    assert raised == {SECRET_VERSION: "update"}


def test_a_new_user_or_address_of_the_database_reaches_its_secret(deployment: Deployment) -> None:
    """Terraform cannot compare what it does not keep."""
    renamed = changes(deployment.workspace.plan(*variables("dev", replication_user_name="loader")))
    assert renamed == {"module.secrets.terraform_data.database[0]": "update", SECRET_VERSION: "delete/create"}


def test_a_major_upgrade_of_the_database_replaces_nothing(deployment: Deployment) -> None:
    """Cluster and instances are changed in place; the new parameter group can be there beside the old one.

    The offline provider calls it an update: it does not know that a group's name and family cannot be changed.
    """
    before = deployment.attributes("module.database[0]", "aws_rds_cluster_parameter_group.this")["name"]
    upgraded = variables("dev", database_engine_version="17.10", database_allow_major_version_upgrade=True)
    plan = deployment.workspace.plan(*upgraded)
    assert changes(plan) == {
        "module.database[0].aws_rds_cluster.this": "update",
        "module.database[0].aws_rds_cluster_instance.this[0]": "update",
        "module.database[0].aws_rds_cluster_parameter_group.this": "update",
    }
    made = resources(plan)
    assert made["module.database[0].aws_rds_cluster.this"]["allow_major_version_upgrade"] is True
    assert made["module.database[0].aws_rds_cluster_parameter_group.this"]["family"] == "aurora-postgresql17"
    group = made["module.database[0].aws_rds_cluster_parameter_group.this"]["name"]
    assert made["module.database[0].aws_rds_cluster.this"]["db_cluster_parameter_group_name"] == group != before
    # A minor one needs no permission, and keeps the group.
    assert changes(deployment.workspace.plan(*variables("dev", database_engine_version="16.15"))) == {
        "module.database[0].aws_rds_cluster.this": "update",
        "module.database[0].aws_rds_cluster_instance.this[0]": "update",
    }


def test_every_change_of_code_is_uploaded_and_nothing_else(deployment: Deployment) -> None:
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


def test_files_come_and_go_and_caches_stay_here(deployment: Deployment) -> None:
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


def test_everything_goes_again(tmp_path: Path) -> None:
    """The environment before what it needs: its network, its role, its files, its logs."""
    deployment = Deployment(Workspace(tmp_path / "checkout"))
    workspace = deployment.workspace
    said = workspace.run("destroy", "-auto-approve", f"-state={workspace.state}", *variables("dev")).check()
    assert deployment.state()["resources"] == []
    lines = said.splitlines()
    (gone,) = [number for number, line in enumerate(lines) if line.startswith(f"{ENVIRONMENT}: Destruction complete")]
    for later in (
        "module.environment.aws_iam_role_policy.this[0]",
        'module.environment.aws_cloudwatch_log_group.this["Task"]',
        "module.environment.aws_security_group.this",
        'module.storage.aws_s3_object.package["plugins"]',
        "module.network[0].aws_nat_gateway.this[0]",
    ):
        (begins,) = [number for number, line in enumerate(lines) if line.startswith(f"{later}: Destroying")]
        assert gone < begins, later


def test_a_database_of_your_own_comes_and_goes_too(tmp_path: Path) -> None:
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
