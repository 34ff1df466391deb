"""The snapshots of a database and the key that they need: what must outlive a destroyed deployment."""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import client, code_of, explain
from scripts.plans import Plan


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of an Aurora cluster.

    :param key: ARN of the key that it is encrypted with.
    """

    name: str
    key: str


def planned_final_snapshot(plan: Plan) -> str | None:
    """The name of the snapshot that the cluster leaves when this plan deletes it; None if it leaves none."""
    for cluster in plan.of_kind("aws_rds_cluster", "delete"):
        if not cluster.before.get("skip_final_snapshot"):
            return cluster.before.get("final_snapshot_identifier") or None
    return None


def exists(name: str, region: str) -> bool:
    """Whether there is a cluster snapshot of this name.

    :raises AwsError: AWS refused.
    """
    try:
        client("rds", region).describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)
    except (ClientError, BotoCoreError) as error:
        if code_of(error) in ("DBClusterSnapshotNotFoundFault", "DBClusterSnapshotNotFound"):
            return False
        failure = explain(error, f"Looking for the snapshot {name}")
    else:
        return True
    raise failure


def of_cluster(cluster: str, region: str) -> list[Snapshot]:
    """The snapshots of a cluster that outlive it: those that people and `make destroy` made.

    :param cluster: its identifier, also if it is gone.
    :raises AwsError: AWS refused.
    """
    try:
        pages = client("rds", region).get_paginator("describe_db_cluster_snapshots")
        found = [
            Snapshot(each["DBClusterSnapshotIdentifier"], each.get("KmsKeyId") or "")
            for page in pages.paginate(DBClusterIdentifier=cluster)
            for each in page["DBClusterSnapshots"]
            if each.get("SnapshotType") != "automated"
        ]
    except (ClientError, BotoCoreError) as error:
        failure = explain(error, f"Listing the snapshots of {cluster}")
    else:
        return found
    raise failure
