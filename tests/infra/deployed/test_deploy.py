"""`make deploy` and `make destroy` with a real Terraform, a real PostgreSQL and a real Airflow.

The root module here makes nothing in AWS: it has the outputs of ours, and a bucket whose deletion fails while it holds
versions of objects, as in S3.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from cd2.tasks.credentials import PLACEHOLDER
from local import aws
from local.stack import Stack
from scripts import buckets, dap_key
from scripts.mwaa import DAG_ID
from scripts.terraform import Outputs, TerraformError
from tests.infra import data_api, mwaa_api
from tests.infra.life import run_script
from tests.infra.plan import Workspace, provider_mirror

pytestmark = pytest.mark.infra

CLUSTER = f"arn:aws:rds:{aws.REGION}:{aws.ACCOUNT}:cluster:canvas-data-2-dev"
ROOT_MODULE = """
variable "outputs" { type = map(any) }
variable "code" { type = string }

resource "terraform_data" "code" { input = var.code }

resource "terraform_data" "bucket" {
  input = var.outputs.bucket_name
  provisioner "local-exec" {
    when    = destroy
    command = "@PYTHON@ @CHECK@ ${self.input}"
  }
}
"""
BUCKET_IS_EMPTY = """
import sys, boto3
answer = boto3.client("s3").list_object_versions(Bucket=sys.argv[1])
sys.exit("BucketNotEmpty" if answer.get("Versions") or answer.get("DeleteMarkers") else 0)
"""


@dataclass
class World:
    """An AWS account in which nothing of ours is yet, and a root module."""

    folder: Path
    outputs: dict[str, object]
    environment: dict[str, str]
    stack: Stack
    admin: str
    bucket: str

    def write_variables(self, code: str = "1") -> None:
        values = {name: value for name, value in self.outputs.items() if name != "dap_parameter_names"}
        text = f"code = {json.dumps(code)}\noutputs = {json.dumps(values)}\n"
        (self.folder / "environments" / "dev.tfvars").write_text(text)

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str]:
        return run_script(script, *arguments, variables=self.environment | environment)


@pytest.fixture
def world(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    token = secrets.token_hex(4)
    admin, user, database, bucket = f"admin-{token}", f"loader-{token}", f"cd2_{token}", f"canvas-data-2-{token}"
    assert stack.postgres is not None
    stack.postgres.create_role(admin, "admin password", "CREATEROLE")
    stack.postgres.create_database(database, owner=admin)
    secret = {"host": "db.example", "dbname": database, "username": user, "password": "the user's password"}
    client = stack.aws.client("secretsmanager")
    login = json.dumps({"username": admin, "password": "admin password"})
    names = [f"/dev/{token}/dap_client_id", f"/dev/{token}/dap_client_secret"]
    for name in names:
        stack.aws.client("ssm").put_parameter(Name=name, Value=PLACEHOLDER, Type="SecureString")
    stack.aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.REGION})
    stack.aws.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    outputs: dict[str, object] = {
        "region": aws.REGION,
        "environment": "dev",
        "mwaa_environment_name": mwaa_api.NAME,
        "webserver_url": "https://abc.c0.eu-central-1.airflow.amazonaws.com",
        "bucket_name": bucket,
        "execution_role_arn": f"arn:aws:iam::{aws.ACCOUNT}:role/canvas-data-2-dev",
        "sns_topic_arn": aws.TOPIC,
        "kms_key_arn": stack.aws.client("kms").create_key()["KeyMetadata"]["Arn"],
        "database_cluster_arn": CLUSTER,
        "database_admin_secret_arn": client.create_secret(Name=f"adm-{token}", SecretString=login)["ARN"],
        "database_name": database,
        "replication_secret_arn": client.create_secret(Name=f"rep-{token}", SecretString=json.dumps(secret))["ARN"],
        "dap_parameter_names": names,
    }
    folder = tmp_path / "terraform"
    (folder / "environments").mkdir(parents=True)
    (tmp_path / "check.py").write_text(BUCKET_IS_EMPTY)
    module = ROOT_MODULE.replace("@PYTHON@", sys.executable).replace("@CHECK@", str(tmp_path / "check.py"))
    for name in outputs:
        value = json.dumps(names) if name == "dap_parameter_names" else f"var.outputs.{name}"
        module += f'output "{name}" {{ value = {value} }}\n'
    (folder / "main.tf").write_text(module)
    for name, value in aws.environment(stack.aws.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    data = data_api.DataApi({CLUSTER: ("127.0.0.1", int(stack.postgres.port or 0))})
    mwaa = mwaa_api.MwaaApi(stack.ui, stack.folder.secret("airflow_admin"))
    with data_api.serving(data) as rds_data, mwaa_api.serving(mwaa) as variables:
        environment = variables | {"http_proxy": variables["HTTP_PROXY"], "no_proxy": variables["NO_PROXY"]}
        environment |= {"AWS_ENDPOINT_URL_RDS_DATA": rds_data, "CD2_TERRAFORM_FOLDER": str(folder), "YES": ""}
        made = World(folder, outputs, environment, stack, admin, bucket)
        made.write_variables()
        yield made


def test_from_nothing_to_a_run_and_back(world: World) -> None:
    """Each step as a person takes it (docs/deploy.md)."""
    code, output = world.run("deploy", "--environment", "dev")
    assert code == 1
    assert "== 3. terraform init and plan" in output
    assert "Plan: 2 to add, 0 to change, 0 to destroy." in output
    assert output.strip().endswith("check the plan above, and run this again with YES=1.")

    code, output = world.run("deploy", "--environment", "dev", YES="1")
    assert code == 1, output
    assert "Apply complete! Resources: 2 added" in output
    assert "changes made" in output
    assert "schema catalog: created" in output  # a namespace of the environment's configuration
    assert "Set it with `make dap-key ENV=dev`" in output

    code, output = world.run("dap_key", "--environment", "dev", DAP_CLIENT_ID="an id", DAP_CLIENT_SECRET="s3cret")
    assert code == 0, output
    assert "s3cret" not in output
    assert dap_key.missing(Outputs(**world.outputs)) == []  # type: ignore[arg-type]

    stack = world.stack
    stack.api.call("PATCH", f"/dags/{DAG_ID}", json={"is_paused": True}, params={"update_mask": "is_paused"})
    code, output = world.run("deploy", "--environment", "dev", YES="1")
    assert code == 0, output
    assert "Nothing to change in AWS." in output
    assert re.search(r"Nothing to change: \d+ already right\.", output)
    assert "  notify                      success" in output
    assert "dev is deployed, and the DAG runs every three hours: https://abc." in output
    assert "password" not in output.replace("password of", "")

    s3 = stack.aws.client("s3")
    for body in (b"1", b"2"):
        s3.put_object(Bucket=world.bucket, Key="plugins.zip", Body=body)
    s3.delete_object(Bucket=world.bucket, Key="plugins.zip")
    code, output = world.run("destroy", "--environment", "dev", YES="prod")
    assert code == 1
    assert "YES=prod does not confirm this: it must be YES=dev" in output
    code, output = world.run("destroy", "--environment", "dev", YES="dev")
    assert code == 0, output
    assert f"3 object versions deleted from {world.bucket}; trying again" in output
    # Log groups that AWS made again in the meantime would have gone, too.
    assert "dev is gone. What stays until you delete it:\n  - nothing\n" in output
    code, output = world.run("destroy", "--environment", "dev", YES="dev")
    assert code == 1
    assert "nothing is deployed from here yet" in output


def test_a_protected_database_is_not_destroyed(world: World) -> None:
    rds = world.stack.aws.client("rds")
    rds.create_db_cluster(
        DBClusterIdentifier=CLUSTER.rsplit(":", 1)[1],
        Engine="aurora-postgresql",
        MasterUsername="postgres",
        MasterUserPassword="12345678",
        DeletionProtection=True,
    )
    try:
        world.run("deploy", "--environment", "dev", YES="1")
        code, output = world.run("destroy", "--environment", "dev", YES="dev")
        assert code == 1
        assert "is protected against deletion" in output
        assert "modify-db-cluster --db-cluster-identifier canvas-data-2-dev --no-deletion-protection" in output
        assert "Destroy complete" not in output
    finally:
        rds.modify_db_cluster(DBClusterIdentifier=CLUSTER.rsplit(":", 1)[1], DeletionProtection=False)
        rds.delete_db_cluster(DBClusterIdentifier=CLUSTER.rsplit(":", 1)[1], SkipFinalSnapshot=True)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"TERRAFORM": "/no/such/terraform"},
            "The program /no/such/terraform was not found: install Terraform 1.11 or newer",
        ),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no AWS credentials: log in"),
        ({"AWS_PROFILE": "nobody"}, "(set AWS_PROFILE, or AWS_REGION)"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_done(world: World, environment: dict[str, str], told: str) -> None:
    hidden = {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere"}
    code, output = world.run("deploy", "--environment", "dev", **hidden, **environment)
    assert code == 1
    assert told in output
    assert "packaging" not in output


def test_an_old_terraform_and_an_unknown_environment_are_told(world: World, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.9.8"}\'\n')
    old.chmod(0o755)
    code, output = world.run("deploy", "--environment", "dev", TERRAFORM=str(old))
    assert (code, "Terraform 1.9.8 is too old: 1.11 or newer" in output) == (1, True)
    code, output = world.run("deploy", "--environment", "")
    assert (code, "use ENV=dev or ENV=stg or ENV=prod" in output) == (1, True)
    code, output = world.run("smoke", "--environment", "prod")
    assert (code, "prod.tfvars is missing" in output) == (1, True)
    code, output = world.run("prepare_database", "--environment", "dev")
    assert (code, "nothing is deployed from here yet" in output) == (1, True)


def test_outputs_of_something_else_are_refused() -> None:
    with pytest.raises(TerraformError, match="not the output of `terraform output -json`"):
        Outputs.from_json("[]")


def test_emptying_a_bucket_goes_through_all_its_pages(world: World) -> None:
    s3 = world.stack.aws.client("s3")
    for number in range(1100):
        s3.put_object(Bucket=world.bucket, Key=f"dags/{number}", Body=b"")
    assert buckets.empty(world.bucket, aws.REGION) == 1100
    assert buckets.empty(world.bucket, aws.REGION) == 0
    assert buckets.empty("not-there-at-all", aws.REGION) == 0


def test_our_terraform_is_deployed_and_destroyed_by_the_same_commands(world: World, tmp_path: Path) -> None:
    """Up to where AWS itself would have to be there: the offline provider makes up what it says."""
    workspace = Workspace(tmp_path / "checkout")
    settings = tmp_path / "terraformrc"
    mirror = f'filesystem_mirror {{\n    path = "{provider_mirror()}"\n  }}'
    settings.write_text(f"provider_installation {{\n  {mirror}\n}}\n")
    places = {"CD2_TERRAFORM_FOLDER": str(workspace.root_module), "TF_CLI_CONFIG_FILE": str(settings)}

    code, output = world.run("deploy", "--environment", "dev", **places, YES="1")
    made = re.search(r"Apply complete! Resources: (\d+) added, 0 changed, 0 destroyed", output)
    assert made, output
    assert "== 5. preparing the database" in output
    assert code == 1
    assert "Reading the secret arn:aws:" in output.splitlines()[-1]  # which nobody has really made
    code, output = world.run("deploy", "--environment", "dev", **places, YES="1")
    assert "Nothing to change in AWS." in output
    code, output = world.run("destroy", "--environment", "dev", **places, YES="dev")
    assert code == 0, output
    assert f"Resources: 0 added, 0 changed, {made[1]} destroyed" in output
