"""What accounts with rules of their own can choose: role, its path, security groups, zones."""

from __future__ import annotations

import json

import pytest

from tests.infra.plan import planned, planned_role_policy, resources

pytestmark = pytest.mark.infra

ACCOUNT = "123456789012"


def test_a_role_of_yours_is_used_as_it_is_and_told_what_it_needs() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/data/airflow"
    plan = planned("dev", execution_role_arn=role)
    made = resources(plan)
    assert not [address for address in made if "aws_iam_role" in address]
    assert made["module.environment.aws_mwaa_environment.this"]["execution_role_arn"] == role
    outputs = {name: output["value"] for name, output in plan["planned_values"]["outputs"].items() if "value" in output}
    assert outputs["execution_role_arn"] == role
    assert json.loads(outputs["execution_role_policy"]) == planned_role_policy("dev")
    new = resources(planned("dev"))["module.environment.aws_iam_role.this[0]"]
    assert outputs["execution_role_trust_policy"] == new["assume_role_policy"]
    # and may publish
    topic = json.loads(made["module.notifications.aws_sns_topic_policy.this[0]"]["policy"])
    assert [s["Principal"] for s in topic["Statement"] if s["Sid"] == "Dag"] == [{"AWS": role}]


def test_a_role_goes_where_the_account_wants_it() -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    chosen = {"permissions_boundary_arn": boundary, "execution_role_path": "/airflow/data/"}
    role = resources(planned("dev", **chosen))["module.environment.aws_iam_role.this[0]"]
    assert (role["permissions_boundary"], role["path"]) == (boundary, "/airflow/data/")


def test_in_a_bucket_of_yours_the_environment_reads_its_folder_and_nothing_else() -> None:
    made = resources(planned("dev", bucket_name="warehouse"))
    assert not [address for address in made if ".aws_s3_bucket" in address]
    assert {v["bucket"] for a, v in made.items() if ".aws_s3_object." in a} == {"warehouse"}
    environment = made["module.environment.aws_mwaa_environment.this"]
    folder = "canvas-data-2-dev"
    assert environment["source_bucket_arn"] == "arn:aws:s3:::warehouse"
    paths = ("dag_s3_path", "plugins_s3_path", "requirements_s3_path", "startup_script_s3_path")
    assert [environment[path] for path in paths] == [
        f"{folder}/{name}" for name in ("dags", "plugins.zip", "requirements.txt", "startup.sh")
    ]
    assert made['module.storage.aws_s3_object.dag["canvas_data_2.py"]']["key"] == f"{folder}/dags/canvas_data_2.py"
    policy = json.loads(made["module.environment.aws_iam_role_policy.this[0]"]["policy"])
    (bucket,) = [statement for statement in policy["Statement"] if statement["Sid"] == "ReadBucket"]
    assert bucket["Resource"] == ["arn:aws:s3:::warehouse", f"arn:aws:s3:::warehouse/{folder}/*"]


def test_security_groups_of_yours_are_added_to_its_own() -> None:
    yours = ["sg-0123456789abcdef0", "sg-0123456789abcdef1"]
    plan = planned("dev", extra_security_group_ids=json.dumps(yours))
    change = next(c for c in plan["resource_changes"] if c["address"] == "module.environment.aws_mwaa_environment.this")
    assert change["change"]["after_unknown"]["network_configuration"][0]["security_group_ids"]
    environment = next(
        r for r in plan["configuration"]["root_module"]["module_calls"]["environment"]["module"]["resources"]
        if r["address"] == "aws_mwaa_environment.this"
    )  # fmt: skip
    used = environment["expressions"]["network_configuration"][0]["security_group_ids"]["references"]
    assert {"aws_security_group.this.id", "var.extra_security_group_ids"} <= set(used)


def test_zones_can_be_chosen_and_stay_when_others_are_added() -> None:
    made = resources(planned("dev", availability_zones='["us-east-1b", "us-east-1d"]'))
    zones = [values["availability_zone"] for address, values in made.items() if ".aws_subnet." in address]
    assert sorted(zones) == ["us-east-1b"] * 3 + ["us-east-1d"] * 3
