"""Destroy an environment: show what will be lost, confirm, destroy, and say what stays.

python -m scripts.destroy --environment dev [--yes dev]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts import package
from scripts.aws import AwsError, client, code_of, explain
from scripts.deploy import Stopped, confirm, identity
from scripts.terraform import Outputs, Terraform, TerraformError

BATCH = 1000
"""Object versions that S3 deletes in one call."""


class Destruction:
    """The destruction of one environment."""

    def __init__(self, terraform: Terraform, yes: str | None) -> None:
        self._terraform, self._yes = terraform, yes

    def run(self) -> None:
        """Run all steps.

        :raises Stopped: it is protected, or was not confirmed.
        """
        self._terraform.check()
        environment = self._terraform.environment
        print(f"destroying {environment} as {identity()}", flush=True)
        # Terraform reads the files that it uploaded even to delete them.
        package.build()
        self._terraform.initialize()
        outputs = self._terraform.outputs()
        snapshot = self._check_protection(outputs)
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder, "plan")
            if not self._terraform.plan(plan, destroy=True):
                raise Stopped(f"there is nothing of {environment} in AWS.")
            print(self._warning(outputs, snapshot))
            confirm(f"Destroy {environment}?", environment, self._yes)
            self._destroy(plan, outputs)
        print(self._what_stays(outputs, snapshot))

    def _destroy(self, plan: Path, outputs: Outputs) -> None:
        try:
            self._terraform.apply(plan)
        except TerraformError:
            # A versioned bucket can be deleted only when no version of any object is left.
            emptied = empty_bucket(outputs.bucket_name, outputs.region)
            if not emptied:
                raise
            print(f"{emptied} object versions deleted from {outputs.bucket_name}; trying again", flush=True)
            again = plan.with_name("again")
            if self._terraform.plan(again, destroy=True):
                self._terraform.apply(again)

    def _check_protection(self, outputs: Outputs) -> bool:
        """Check that the database may be deleted; returns whether there is one."""
        if not outputs.database_cluster_arn:
            return False
        cluster = self._cluster(outputs)
        if cluster is None:
            return False
        if cluster.get("DeletionProtection"):
            name = cluster["DBClusterIdentifier"]
            raise Stopped(
                f"the database {name} is protected against deletion. To allow it: `aws rds modify-db-cluster "
                f"--db-cluster-identifier {name} --no-deletion-protection`, and run this again."
            )
        return True

    def _cluster(self, outputs: Outputs) -> dict[str, Any] | None:
        try:
            found = client("rds", outputs.region).describe_db_clusters(DBClusterIdentifier=outputs.database_cluster_arn)
            return dict(found["DBClusters"][0])
        except (ClientError, BotoCoreError) as error:
            if code_of(error) == "DBClusterNotFoundFault":
                return None
            failure = explain(error, "Reading the database cluster")
        raise failure

    @staticmethod
    def _warning(outputs: Outputs, database: bool) -> str:
        lost = [f"the MWAA environment {outputs.mwaa_environment_name} with its runs and their history"]
        lost.append(f"the bucket {outputs.bucket_name} with all versions of DAGs and plugins")
        if database:
            lost.append("the replica with everything in it, including views and grants of analysts")
        lost.append("the DAP key, the replication secret, the topic and its subscriptions")
        return "\nThis will be lost:\n" + "\n".join(f"  - {what}" for what in lost)

    @staticmethod
    def _what_stays(outputs: Outputs, database: bool) -> str:
        stays = [
            f"log groups airflow-{outputs.mwaa_environment_name}-* in CloudWatch, if MWAA wrote to them until the end",
            "the names of deleted secrets, until their recovery window ends, if the settings give them one",
        ]
        if database:
            stays.append("the final snapshot of the database, if the settings request one, and its log group")
        stays.append("a KMS key that Terraform created, for its waiting period (at no cost)")
        return f"\n{outputs.environment} is gone. What stays until you delete it:\n" + "\n".join(
            f"  - {what}" for what in stays
        )


def empty_bucket(bucket: str, region: str | None = None) -> int:
    """Delete every version of every object.

    :returns: how many; 0 if there is no such bucket.
    :raises AwsError: AWS refused.
    """
    s3 = client("s3", region)
    deleted = 0
    try:
        # From the beginning each time: a deleted version cannot serve as a marker.
        while True:
            page = s3.list_object_versions(Bucket=bucket, MaxKeys=BATCH)
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            objects = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]
            if not objects:
                break
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            if errors := answer.get("Errors"):
                raise AwsError(f"{len(errors)} object versions of {bucket} cannot be deleted: {errors[0]['Message']}.")
            deleted += len(objects)
    except (ClientError, BotoCoreError) as error:
        if code_of(error) == "NoSuchBucket":
            return 0
        failure = explain(error, f"Emptying the bucket {bucket}")
    else:
        return deleted
    raise failure


def main(argv: list[str] | None = None) -> None:
    """Destroy an environment (`make destroy`)."""
    parser = argparse.ArgumentParser(prog="destroy", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--environment", metavar="ENV", default="", help="dev, stg or prod")
    parser.add_argument("--yes", metavar="ENV", help="confirm in advance, with the environment's name (YES=dev)")
    given = parser.parse_args(argv)
    try:
        Destruction(Terraform(given.environment), given.yes or os.environ.get("YES") or None).run()
    except (AwsError, TerraformError, Stopped, package.PackagingError) as problem:
        sys.exit(f"destroy: {problem}")
    except KeyboardInterrupt:
        sys.exit("destroy: stopped; run it again to complete it.")


if __name__ == "__main__":
    main()
