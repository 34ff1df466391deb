"""What an earlier deployment left behind, and the next one would trip over: AWS lets a name be used only once.

RDS and MWAA write to their log groups until their end, and so create them again after Terraform has deleted them; a
deleted secret keeps its name during its recovery window; the key of a snapshot stays. `make deploy` adopts all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import client, code_of, explain
from scripts.plans import Change, Plan

ADOPTED = "adopted.tf"
"""Import blocks for one plan, in the folder of the root module."""
HOW_TO_RESTORE = (
    "a plan can take over {} only after it was restored, and planning changes nothing: `aws secretsmanager "
    "restore-secret --secret-id ARN`, then run this again."
)
NOT_FOUND = {"NotFoundException", "ResourceNotFoundException"}


class LeftoverError(Exception):
    """What stands in the way, and what to do."""


@dataclass(frozen=True)
class Leftover:
    """Something in AWS that a plan would create again.

    :param address: of the resource in Terraform.
    :param identity: what Terraform imports it by.
    :param what: for people.
    :param deleted: whether it must be restored first.
    """

    address: str
    identity: str
    what: str
    deleted: bool = False


def find(plan: Plan, region: str) -> list[Leftover]:
    """What is there already of that which a plan creates.

    :raises LeftoverError: it cannot be adopted.
    :raises AwsError: AWS refused.
    """
    found: list[Leftover] = []
    for change in plan.of_kind("aws_cloudwatch_log_group", "create"):
        if log_group_exists(change.after["name"], region):
            found.append(Leftover(change.address, change.after["name"], f"log group {change.after['name']}"))
    for change in plan.of_kind("aws_secretsmanager_secret", "create"):
        found += _secret(change, region)
    for change in plan.of_kind("aws_kms_alias", "create"):
        keys = [key for key in plan.of_kind("aws_kms_key", "create") if key.module == change.module]
        found += _key(change, keys, region)
    return found


def _secret(change: Change, region: str) -> list[Leftover]:
    name = change.after["name"]
    secret = _described(
        client("secretsmanager", region).describe_secret, f"Looking for the secret {name}", SecretId=name
    )
    if secret is None:
        return []
    deleted = bool(secret.get("DeletedDate"))
    state = " (deleted, in its recovery window)" if deleted else ""
    return [Leftover(change.address, secret["ARN"], f"secret {name}{state}", deleted)]


def _key(alias: Change, keys: list[Change], region: str) -> list[Leftover]:
    name = alias.after["name"]
    found = _described_key(name, region)
    if found is None:
        return []
    key_id = found["KeyId"]
    if found["KeyState"] == "PendingDeletion":
        raise LeftoverError(
            f"{name} names the key {key_id}, which is scheduled for deletion. If a snapshot needs it, keep it: `aws "
            f"kms cancel-key-deletion --key-id {key_id}`; otherwise free its name: `aws kms delete-alias --alias-name "
            f"{name}`. Then run this again."
        )
    return [
        *(Leftover(key.address, key_id, f"key {key_id}") for key in keys),
        Leftover(alias.address, name, f"alias {name}"),
    ]


def key_of(alias: str, region: str) -> str | None:
    """The id of the key that an alias names; None if there is no such alias.

    :raises AwsError: AWS refused.
    """
    found = _described_key(alias, region)
    return found["KeyId"] if found else None


def _described_key(alias: str, region: str) -> dict[str, Any] | None:
    found = _described(client("kms", region).describe_key, f"Looking for the key {alias}", KeyId=alias)
    return found["KeyMetadata"] if found else None


def _described(describe: Any, doing: str, **request: str) -> dict[str, Any] | None:
    try:
        return dict(describe(**request))
    except (ClientError, BotoCoreError) as error:
        if code_of(error) in NOT_FOUND:
            return None
        failure = explain(error, doing)
    raise failure


def restore(found: list[Leftover], region: str) -> None:
    """Restore what was deleted and can be restored.

    :raises AwsError: AWS refused.
    """
    for leftover in found:
        if leftover.deleted:
            try:
                client("secretsmanager", region).restore_secret(SecretId=leftover.identity)
                continue
            except (ClientError, BotoCoreError) as error:
                failure = explain(error, f"Restoring the {leftover.what}")
            raise failure


@contextmanager
def adopting(folder: Path, found: list[Leftover]) -> Iterator[None]:
    """While this is open, a plan of the root module in `folder` imports what was found."""
    blocks = [f'import {{\n  to = {each.address}\n  id = "{each.identity}"\n}}\n' for each in found]
    (folder / ADOPTED).write_text("\n".join(blocks))
    try:
        yield
    finally:
        forget(folder)


def forget(folder: Path) -> None:
    """Remove the import blocks, also those of a deployment that was killed."""
    (folder / ADOPTED).unlink(missing_ok=True)


def log_group_exists(name: str, region: str) -> bool:
    """Whether there is a log group of exactly this name.

    :raises AwsError: AWS refused.
    """
    try:
        # The first in alphabetical order is the one without anything after the name.
        groups = client("logs", region).describe_log_groups(logGroupNamePrefix=name, limit=1)["logGroups"]
    except (ClientError, BotoCoreError) as error:
        failure = explain(error, f"Looking for the log group {name}")
    else:
        return any(group["logGroupName"] == name for group in groups)
    raise failure


def delete_log_groups(names: list[str], region: str) -> list[str]:
    """Delete log groups; returns those that were there.

    :raises AwsError: AWS refused.
    """
    deleted = []
    for name in names:
        try:
            client("logs", region).delete_log_group(logGroupName=name)
            deleted.append(name)
        except (ClientError, BotoCoreError) as error:
            if code_of(error) == "ResourceNotFoundException":
                continue
            failure = explain(error, f"Deleting the log group {name}")
            raise failure from None
    return deleted
