"""An AWS account behind the offline provider: what has a name that can be used only once is really made, in moto.

Refuses what AWS refuses, and does what AWS does unasked: RDS and MWAA create their log groups again after
they were deleted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from tests.infra.json_server import Answer, serving_json
from tests.infra.plan import LESS_COLLECTION, TOOL, provider_mirror, running_provider

REGION = "us-east-1"
"""The offline provider's."""
PROVIDER = Path(__file__).with_name("backed_provider.py")


class Refused(Exception):
    """What the provider says that AWS said."""


class Account:
    """The account.

    :param endpoint: of moto.
    :param region: the provider's.
    """

    def __init__(self, endpoint: str, region: str = REGION) -> None:
        self._endpoint, self.region = endpoint, region
        self.late_log_groups = True
        self.failing: set[str] = set()
        """Types of resources that cannot be deleted now."""

    def client(self, service: str) -> Any:
        return boto3.client(service, self.region, endpoint_url=self._endpoint)

    def answer(self, _: str, __: str, request: dict[str, Any]) -> Answer:
        method = getattr(self, f"_{request['kind'].removeprefix('aws_')}", None)
        if request["kind"] in self.failing and request.get("planned", {}) is None:
            return 200, "", {"error": f"deleting {request['kind']}: DependencyViolation: it is in use"}
        if method is None:
            return 200, "", {}
        try:
            return 200, "", {"attributes": method(request) or {}}
        except (ClientError, Refused) as error:
            return 200, "", {"error": str(error)}

    def _cloudwatch_log_group(self, request: dict[str, Any]) -> dict[str, Any] | None:
        logs, (prior, planned) = self.client("logs"), states(request)
        if name := request.get("imported"):
            groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
            if name not in [group["logGroupName"] for group in groups]:
                raise Refused("Cannot import non-existent remote object")
            return {"name": name, "id": name}
        if not prior:
            logs.create_log_group(logGroupName=planned["name"])
        elif not planned:
            logs.delete_log_group(logGroupName=prior["name"])
            if self.late_log_groups:
                logs.create_log_group(logGroupName=prior["name"])
        return {"id": planned["name"]} if planned else None

    def _kms_key(self, request: dict[str, Any]) -> dict[str, Any] | None:
        kms, (prior, planned) = self.client("kms"), states(request)
        if key_id := request.get("imported"):
            found = kms.describe_key(KeyId=key_id)["KeyMetadata"]
        elif planned and not prior:
            found = kms.create_key()["KeyMetadata"]
        elif not planned:
            kms.schedule_key_deletion(KeyId=prior["key_id"], PendingWindowInDays=7)
            return None
        else:
            found = kms.describe_key(KeyId=prior["key_id"])["KeyMetadata"]
        if found["KeyState"] == "PendingDeletion":
            raise Refused("Cannot import non-existent remote object")
        return {"id": found["KeyId"], "key_id": found["KeyId"], "arn": found["Arn"]}

    def _kms_alias(self, request: dict[str, Any]) -> dict[str, Any] | None:
        kms, (prior, planned) = self.client("kms"), states(request)
        if name := request.get("imported"):
            return {"id": name, "name": name, "target_key_id": kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"]}
        if not prior:
            kms.create_alias(AliasName=planned["name"], TargetKeyId=planned["target_key_id"])
        elif not planned:
            kms.delete_alias(AliasName=prior["name"])
        return None

    def _secretsmanager_secret(self, request: dict[str, Any]) -> dict[str, Any] | None:
        secrets, (prior, planned) = self.client("secretsmanager"), states(request)
        if arn := request.get("imported"):
            found = secrets.describe_secret(SecretId=arn)
            if found.get("DeletedDate"):
                raise Refused("Cannot import non-existent remote object")
            return {"id": found["ARN"], "arn": found["ARN"], "name": found["Name"]}
        if planned and not prior:
            arn = secrets.create_secret(Name=planned["name"], SecretString="{}")["ARN"]
            return {"id": arn, "arn": arn}
        if not planned:
            days = prior["recovery_window_in_days"]
            how = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
            secrets.delete_secret(SecretId=prior["name"], **how)
        return None

    def _rds_cluster(self, request: dict[str, Any]) -> dict[str, Any] | None:
        rds, (prior, planned) = self.client("rds"), states(request)
        if planned and not prior:
            made = rds.create_db_cluster(
                DBClusterIdentifier=planned["cluster_identifier"],
                Engine=planned["engine"],
                MasterUsername=planned["master_username"],
                MasterUserPassword="12345678",
                StorageEncrypted=True,
                KmsKeyId=planned["kms_key_id"],
                DeletionProtection=planned["deletion_protection"],
            )["DBCluster"]
            return {"arn": made["DBClusterArn"], "id": planned["cluster_identifier"]}
        if not planned:
            last = (
                {}
                if prior["skip_final_snapshot"]
                else {"FinalDBSnapshotIdentifier": prior["final_snapshot_identifier"]}
            )
            name = prior["cluster_identifier"]
            found = rds.describe_db_cluster_snapshots(DBClusterIdentifier=name)["DBClusterSnapshots"]
            rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=prior["skip_final_snapshot"], **last)
            for snapshot in found:  # AWS deletes the automated ones with the cluster
                if snapshot["SnapshotType"] == "automated":
                    rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=snapshot["DBClusterSnapshotIdentifier"])
        return None

    def _s3_object(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Files of a bucket of the user's. Those of ours are not put: its end is tested with files of others."""
        s3, (prior, planned) = self.client("s3"), states(request)
        if (planned or prior)["bucket"].startswith("canvas-data-2-"):
            return None
        if planned:
            made = s3.put_object(Bucket=planned["bucket"], Key=planned["key"], Body=str(planned["source_hash"]))
            return {"version_id": made.get("VersionId", "null")}
        # As the provider does with a versioned object.
        found = s3.list_object_versions(Bucket=prior["bucket"], Prefix=prior["key"])
        for version in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
            if version["Key"] == prior["key"]:
                s3.delete_object(Bucket=prior["bucket"], Key=version["Key"], VersionId=version["VersionId"])
        return None

    def _s3_bucket(self, request: dict[str, Any]) -> dict[str, Any] | None:
        s3, (prior, planned) = self.client("s3"), states(request)
        if planned and not prior:
            elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
            s3.create_bucket(Bucket=planned["bucket"], **(elsewhere if self.region != REGION else {}))
            s3.put_bucket_versioning(Bucket=planned["bucket"], VersioningConfiguration={"Status": "Enabled"})
        if not planned:
            left = s3.list_object_versions(Bucket=prior["bucket"])
            if (left.get("Versions") or left.get("DeleteMarkers")) and not prior["force_destroy"]:
                raise Refused("deleting S3 Bucket: BucketNotEmpty: The bucket you tried to delete is not empty")
            s3.delete_bucket(Bucket=prior["bucket"])
        return {"id": planned["bucket"]} if planned and not prior else None


def states(request: dict[str, Any]) -> tuple[Any, Any]:
    """What a resource was and will be."""
    return request.get("prior"), request.get("planned")


@contextmanager
def serving(account: Account, folder: Path, *, running: bool = False) -> Iterator[dict[str, str]]:
    """The environment variables with which Terraform uses the offline provider with this account behind it.

    :param folder: for the provider's files.
    :param running: one provider serves all of Terraform's commands. Without, Terraform installs it and starts it for
        each command, as it does with AWS's; and each command can have a region of its own (CD2_REGION).
    """
    with serving_json(account.answer) as address, ExitStack() as opened:
        behind = {"CD2_STUB_PROVIDER": str(TOOL.parent / "stub_provider.py"), "CD2_ACCOUNT": address}
        if running:
            behind["CD2_REGION"] = account.region
            yield opened.enter_context(running_provider(PROVIDER, **behind)) | {"GOGC": LESS_COLLECTION}
            return
        mirror = folder / "mirror"
        shutil.copytree(provider_mirror(), mirror, symlinks=True)
        (program,) = mirror.rglob("terraform-provider-aws_v*")
        python = json.dumps(str(provider_mirror().parent / "venv" / "bin" / "python"))
        program.write_text(f'#!/bin/sh\nexec {python} {json.dumps(str(PROVIDER))} "$@"\n')
        settings = folder / "terraformrc"
        settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
        yield behind | {"TF_CLI_CONFIG_FILE": str(settings), "GOGC": LESS_COLLECTION}
