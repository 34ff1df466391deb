"""Destroy an environment: show what will be lost, confirm, destroy, and say what stays.

python -m scripts.destroy --environment dev [--yes dev]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts import buckets, leftovers, package, snapshots
from scripts.aws import AwsError, client, code_of, explain
from scripts.deploy import Stopped, confirm, identity
from scripts.plans import Plan
from scripts.terraform import NothingDeployed, Outputs, Terraform, TerraformError


@dataclass(frozen=True)
class Target:
    """What is to be destroyed.

    :param name: of the MWAA environment, and prefix of all other names.
    :param bucket: the one that was made; empty if it is gone, or if you use your own.
    :param own_bucket: your own, if you use one.
    :param cluster: identifier of the Aurora cluster; empty if you use your own database.
    """

    environment: str
    name: str
    region: str
    bucket: str
    cluster: str
    own_bucket: str = ""

    @classmethod
    def deployed(cls, outputs: Outputs, plan: Plan) -> Target:
        """As the outputs of a complete deployment say."""
        name, cluster, own = outputs.mwaa_environment_name, outputs.database_identifier, plan.variable("bucket_name")
        return cls(outputs.environment, name, outputs.region, "" if own else outputs.bucket_name, cluster, own)

    @classmethod
    def interrupted(cls, plan: Plan) -> Target:
        """As the plan of what is left says: Terraform removes the outputs first."""
        environment, name = plan.variable("environment"), plan.variable("name")
        regions = [change.before["region"] for change in plan.changes if change.before.get("region")]
        buckets = [bucket.before["bucket"] for bucket in plan.of_kind("aws_s3_bucket", "delete")]
        cluster = "" if plan.variable("database_secret_arn") else f"{name}-{environment}"
        return cls(
            environment,
            f"{name}-{environment}",
            [*regions, ""][0],
            [*buckets, ""][0],
            cluster,
            plan.variable("bucket_name"),
        )


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
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "plan")
            target, plan = self._target(file)
            print(self._warning(target, snapshots.planned_final_snapshot(plan)))
            confirm(f"Destroy {environment}?", environment, self._yes)
            if kept := self._key_to_keep(plan, target):
                # Before anything is deleted: from now on nothing can schedule the key for deletion.
                self._terraform.forget(*kept)
                self._terraform.plan(file, destroy=True)
            self._destroy(file, target)
        if groups := leftovers.delete_log_groups(log_groups(target), target.region):
            print(f"log groups deleted that AWS had created again: {', '.join(groups)}")
        print(self._what_stays(target, plan))

    def _target(self, file: Path) -> tuple[Target, Plan]:
        """Plan, and check that all of it can be destroyed, before anything is."""
        missing = None
        try:
            outputs = self._terraform.outputs()
        except NothingDeployed as problem:
            missing = problem
        if not self._terraform.plan(file, destroy=True):
            raise missing or Stopped(f"there is nothing of {self._terraform.environment} in AWS.")
        plan = self._terraform.planned(file)
        target = Target.interrupted(plan) if missing else Target.deployed(outputs, plan)
        self._check_protection(target)
        self._check_snapshot(snapshots.planned_final_snapshot(plan), target)
        return target, plan

    def _destroy(self, plan: Path, target: Target) -> None:
        try:
            self._terraform.apply(plan)
        except TerraformError as failure:
            # A versioned bucket can be deleted only when no version of any object is left.
            if "BucketNotEmpty" not in failure.said or not target.bucket:
                raise
            emptied = buckets.empty(target.bucket, target.region)
            print(f"{emptied} object versions deleted from {target.bucket}; trying again", flush=True)
            again = plan.with_name("again")
            if self._terraform.plan(again, destroy=True):
                self._terraform.apply(again)

    @staticmethod
    def _check_snapshot(name: str | None, target: Target) -> None:
        if not name or not snapshots.exists(name, target.region):
            return
        way = (
            f"Run `make deploy ENV={target.environment}` first: it gives the next one a new name"
            if name.endswith("-final")  # as versions before 0.2 named them
            else f"Copy that one under another name if you need it, then `aws rds delete-db-cluster-snapshot "
            f"--db-cluster-snapshot-identifier {name}`"
        )
        raise Stopped(f"there is a snapshot {name} already, the name of the final one. {way}. Nothing was changed.")

    @staticmethod
    def _key_to_keep(plan: Plan, target: Target) -> list[str]:
        """The addresses of the key, and of its aliases, if a snapshot needs it after this."""
        final = snapshots.planned_final_snapshot(plan)
        clusters = plan.of_kind("aws_rds_cluster", "delete")
        needed = {cluster.before.get("kms_key_id") for cluster in clusters} if final else set()
        if target.cluster:
            needed |= {snapshot.key for snapshot in snapshots.of_cluster(target.cluster, target.region)}
        keys = [key for key in plan.of_kind("aws_kms_key", "delete") if key.before.get("arn") in needed]
        modules = {key.module for key in keys}
        aliases = [alias for alias in plan.of_kind("aws_kms_alias", "delete") if alias.module in modules]
        return [each.address for each in (*keys, *aliases)]

    def _check_protection(self, target: Target) -> None:
        cluster = self._cluster(target) if target.cluster else None
        if cluster and cluster.get("DeletionProtection"):
            raise Stopped(
                f"the database {target.cluster} is protected against deletion. To allow it: `aws rds modify-db-cluster "
                f"--db-cluster-identifier {target.cluster} --no-deletion-protection`, and run this again."
            )

    @staticmethod
    def _cluster(target: Target) -> dict[str, Any] | None:
        try:
            found = client("rds", target.region).describe_db_clusters(DBClusterIdentifier=target.cluster)
            return dict(found["DBClusters"][0])
        except (ClientError, BotoCoreError) as error:
            if code_of(error) == "DBClusterNotFoundFault":
                return None
            failure = explain(error, "Reading the database cluster")
        raise failure

    @staticmethod
    def _warning(target: Target, snapshot: str | None) -> str:
        lost = [f"the MWAA environment {target.name} with its runs and their history"]
        if target.bucket:
            lost.append(f"the bucket {target.bucket} with all versions of DAGs and plugins")
        if target.own_bucket:
            lost.append(
                f"our files in your bucket {target.own_bucket}, in the folder {target.name} (nothing else in it)"
            )
        if target.cluster:
            kept = f" (kept in the snapshot {snapshot})" if snapshot else ""
            lost.append(f"the replica with everything in it, including views and grants of analysts{kept}")
        lost.append("the DAP key, the replication secret, the topic and its subscriptions")
        return "\nThis will be lost:\n" + "\n".join(f"  - {what}" for what in lost)

    @staticmethod
    def _what_stays(target: Target, plan: Plan) -> str:
        stays = [
            f"the name of the secret {secret.before['name']}, for {days} days: `make deploy` restores it"
            for secret in plan.of_kind("aws_secretsmanager_secret", "delete")
            if (days := secret.before.get("recovery_window_in_days"))
        ]
        stays += [
            f"the snapshot {snapshot.name}; to delete it: `aws rds delete-db-cluster-snapshot "
            f"--db-cluster-snapshot-identifier {snapshot.name}`"
            for snapshot in (snapshots.of_cluster(target.cluster, target.region) if target.cluster else ())
        ]
        if key := leftovers.key_of(f"alias/{target.name}", target.region):
            stays.append(
                f"the key {key}, without which the snapshots cannot be read ($1 a month; `make deploy` uses it again); "
                f"to delete it after the last snapshot: `aws kms schedule-key-deletion --key-id {key}`"
            )
        elif plan.of_kind("aws_kms_key", "delete"):
            stays.append("the KMS key, for its waiting period (at no cost)")
        return f"\n{target.environment} is gone. What stays until you delete it:\n" + "\n".join(
            f"  - {what}" for what in stays or ["nothing"]
        )


def log_groups(target: Target) -> list[str]:
    """The log groups that MWAA and RDS write to, and create if they are not there."""
    components = ("DAGProcessing", "Scheduler", "Task", "WebServer", "Worker")
    names = [f"airflow-{target.name}-{component}" for component in components]
    return [*names, f"/aws/rds/cluster/{target.cluster}/postgresql"] if target.cluster else names


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
