"""An account and a checkout that is deployed into it by our commands and the real Terraform, and taken down again.

The offline provider has an account behind it (account.py), in which names can be used once, as in AWS.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from local.settings import REPOSITORY
from tests.infra.account import Account
from tests.infra.mwaa_api import Resting
from tests.infra.plan import Workspace


def run_script(script: str, *arguments: str, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run one of our commands, without a terminal.

    :param variables: of its environment, beside ours.
    :returns: its status, and what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.{script}", *arguments],
        env=os.environ | dict(variables),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@dataclass
class Life:
    """An account and a checkout to deploy from."""

    account: Account
    airflow: Resting
    workspace: Workspace
    environment: dict[str, str]

    def run(self, script: str, environment: str, **more: str) -> tuple[int, str]:
        return run_script(script, "--environment", environment, variables=self.environment | more)

    def deploy(self, environment: str) -> str:
        """Deploy up to the database, which is not really there."""
        _, output = self.run("deploy", environment, YES="1")
        assert "preparing the database" in output, output
        return output

    def destroy(self, environment: str) -> str:
        code, output = self.run("destroy", environment, YES=environment)
        assert code == 0, output
        assert f"{environment} is gone" in output
        return output

    def unprotect(self, environment: str) -> None:
        """As docs/deploy.md says."""
        name = f"canvas-data-2-{environment}"
        self.account.client("rds").modify_db_cluster(DBClusterIdentifier=name, DeletionProtection=False)

    def snapshots(self, environment: str) -> dict[str, str]:
        """The keys of those that stay, by name."""
        found = self.account.client("rds").describe_db_cluster_snapshots(
            DBClusterIdentifier=f"canvas-data-2-{environment}"
        )["DBClusterSnapshots"]
        manual = [each for each in found if each["SnapshotType"] == "manual"]
        return {each["DBClusterSnapshotIdentifier"]: each["KmsKeyId"] for each in manual}

    def key_state(self, key: str) -> str:
        return str(self.account.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"])

    def log_groups(self, environment: str) -> set[str]:
        found = self.account.client("logs").describe_log_groups()["logGroups"]
        return {each["logGroupName"] for each in found if f"canvas-data-2-{environment}" in each["logGroupName"]}

    def put_code(self, environment: str) -> None:
        """What Terraform uploaded, and an older version of it."""
        for body in (b"1", b"2"):
            bucket = f"canvas-data-2-{environment}-123456789012-us-east-1"
            self.account.client("s3").put_object(Bucket=bucket, Key="plugins.zip", Body=body)
