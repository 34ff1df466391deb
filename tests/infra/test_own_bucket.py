"""A bucket of the user's: checked before anything is made, used, and left with what is in it."""

from __future__ import annotations

import os
import subprocess

import boto3
import pytest

from scripts.buckets import BLOCKED, BucketError, check
from tests.infra.life import Life

pytestmark = pytest.mark.infra


def test_a_bucket_of_yours_is_checked_used_and_left_with_what_is_yours(life: Life) -> None:
    s3, bucket = life.account.client("s3"), "warehouse.university.example"
    variables = life.workspace.root_module / "environments" / "dev.tfvars"
    variables.write_text(variables.read_text() + f'bucket_name = "{bucket}"\n')

    def refused() -> str:
        code, output = life.run("deploy", "dev", YES="1")
        assert code == 1
        assert "Creating..." not in output
        return output

    assert f"there is no bucket {bucket}" in refused()
    s3.create_bucket(Bucket=bucket)
    output = refused()
    assert f"the bucket {bucket} is not versioned" in output
    assert f"put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled" in output
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert f"the bucket {bucket} does not block all public access" in refused()
    blocked = dict.fromkeys(BLOCKED, True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked | {BLOCKED[0]: False})
    assert f"put-public-access-block --bucket {bucket}" in refused()
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked)
    theirs = {"dags/canvas_data_2.py": b"theirs", "plugins.zip": b"theirs", "canvas-data-2-dev-notes.txt": b"theirs"}
    for key, body in theirs.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)

    def keys() -> set[str]:
        return {each["Key"] for each in s3.list_object_versions(Bucket=bucket)["Versions"]}

    life.deploy("dev")
    ours = {f"canvas-data-2-dev/{name}" for name in ("plugins.zip", "requirements.txt", "startup.sh")}
    ours |= {f"canvas-data-2-dev/dags/{path.name}" for path in life.workspace.dags.iterdir() if path.is_file()}
    assert keys() == ours | theirs.keys()
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == [bucket]
    output = life.destroy("dev")
    assert f"our files in your bucket {bucket}, in the folder canvas-data-2-dev" in output
    assert "with all versions of DAGs" not in output
    assert keys() == theirs.keys()
    assert all(s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body for key, body in theirs.items())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_a_bucket_in_another_region_is_refused(moto: str) -> None:
    where = {"LocationConstraint": "eu-west-3"}
    boto3.client("s3", "eu-west-3").create_bucket(Bucket="far-away", CreateBucketConfiguration=where)
    with pytest.raises(BucketError, match="far-away is in eu-west-3: MWAA reads only one in its own region, us-east-1"):
        check("far-away", "us-east-1")


def test_without_our_scripts_a_bucket_that_is_not_versioned_is_refused_before_mwaa_is_made(life: Life) -> None:
    life.account.client("s3").create_bucket(Bucket="warehouse")
    done = subprocess.run(
        ["terraform", f"-chdir={life.workspace.root_module}", "init", "-input=false", "-no-color"],
        env=os.environ | life.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    arguments = [
        "apply",
        "-auto-approve",
        "-no-color",
        "-var-file=environments/dev.tfvars",
        "-var=bucket_name=warehouse",
    ]
    done = subprocess.run(
        ["terraform", f"-chdir={life.workspace.root_module}", *arguments],
        env=os.environ | life.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The bucket warehouse is not versioned: MWAA deploys versions of these files." in " ".join(
        line.strip("│ ") for line in done.stderr.splitlines()
    )
    assert "aws_mwaa_environment.this: Creating" not in done.stdout
