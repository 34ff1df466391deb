"""Buckets: one of the user's is checked before anything is made, and only one that was made here is emptied."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import AwsError, client, code_of, explain

BATCH = 1000
"""Object versions that S3 deletes in one call."""
BLOCKED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


class BucketError(Exception):
    """What is wrong with a bucket, and what to do."""


def check(bucket: str, region: str) -> None:
    """Check that MWAA accepts an existing bucket.

    :raises BucketError: it does not.
    :raises AwsError: AWS refused.
    """
    s3 = client("s3", region)
    try:
        # Not HeadBucket: its errors have no text.
        place = s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"
        place = "eu-west-1" if place == "EU" else place  # as the oldest buckets say
        versioning = s3.get_bucket_versioning(Bucket=bucket).get("Status")
        blocked = _public_access_block(s3, bucket)
    except (ClientError, BotoCoreError) as error:
        if code_of(error) == "NoSuchBucket":
            raise BucketError(
                f"there is no bucket {bucket}: correct bucket_name, or leave it out for a new one."
            ) from None
        failure = explain(error, f"Looking at the bucket {bucket}")
        raise failure from None
    if place != region:
        raise BucketError(f"the bucket {bucket} is in {place}: MWAA reads only one in its own region, {region}.")
    if versioning != "Enabled":
        raise BucketError(
            f"the bucket {bucket} is not versioned, and MWAA deploys versions of files: `aws s3api "
            f"put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled`, then run this again."
        )
    if not all(blocked.get(each) for each in BLOCKED):
        settings = ",".join(f"{each}=true" for each in BLOCKED)
        raise BucketError(
            f"the bucket {bucket} does not block all public access, and MWAA refuses it so: `aws s3api "
            f"put-public-access-block --bucket {bucket} --public-access-block-configuration {settings}`, then run this "
            "again."
        )


def _public_access_block(s3: object, bucket: str) -> dict[str, bool]:
    try:
        answer = s3.get_public_access_block(Bucket=bucket)  # type: ignore[attr-defined]
    except ClientError as error:
        if code_of(error) == "NoSuchPublicAccessBlockConfiguration":
            return {}
        raise
    return dict(answer["PublicAccessBlockConfiguration"])


def empty(bucket: str, region: str | None = None) -> int:
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
