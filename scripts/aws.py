"""AWS clients for the scripts, and AWS's errors as sentences."""

from __future__ import annotations

import os
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
INVALID = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure"}
DENIED = {"AccessDenied", "AccessDeniedException", "ForbiddenException", "UnauthorizedOperation"}


class AwsError(Exception):
    """What AWS refused, and what to do.

    :param code: AWS's error code; empty if the request did not reach AWS.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def client(service: str, region: str | None = None) -> Any:
    """A boto3 client that retries when AWS throttles or is briefly unavailable.

    :param region: None: `configured_region`.
    :raises AwsError: there is no region or profile.
    """
    import boto3
    from botocore.config import Config

    # A local server (tests, ministack) has no host names below its own.
    config = Config(retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=10, read_timeout=70)
    try:
        return boto3.client(service, region_name=region or configured_region(), config=config)
    except BotoCoreError as error:
        problem = explain(error, f"Connecting to {service}")
    raise problem


def configured_region() -> str | None:
    """The region of the caller's AWS configuration: AWS_REGION, AWS_DEFAULT_REGION, then the profile's.

    :raises AwsError: there is no such profile.
    """
    import boto3

    try:
        # boto3 does not read AWS_REGION, as Terraform and the AWS command line do.
        return os.environ.get("AWS_REGION") or boto3.Session().region_name
    except BotoCoreError as error:
        problem = explain(error, "Reading your AWS configuration")
    raise problem


def explain(error: Exception, doing: str) -> AwsError:
    """A failure of boto3 in our words.

    :param doing: to begin the sentence: `Reading the secret x`.
    """
    if isinstance(error, AwsError):
        return error
    if isinstance(error, ClientError):
        return _refused(error, doing)
    return AwsError(f"{doing} failed: {_unreached(error)}")


def code_of(error: Exception) -> str:
    """AWS's error code, or an empty text."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _refused(error: ClientError, doing: str) -> AwsError:
    code = code_of(error)
    details = error.response.get("Error", {})
    # Some services spell it in lower case.
    text = details.get("Message") or error.response.get("message") or ""
    if code in EXPIRED:
        advice = "your AWS credentials have expired: log in again (for example `aws sso login`)."
    elif code in INVALID:
        advice = "AWS does not accept these credentials: check AWS_PROFILE and your keys."
    elif code in DENIED:
        advice = f"your AWS identity lacks the right ({text or code}): ask for it, or use another profile."
    else:
        advice = f"{text or 'AWS gave no reason'} ({code})."
    return AwsError(f"{doing} failed: {advice}", code)


def _unreached(error: Exception) -> str:
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "there are no AWS credentials: log in (for example `aws sso login`) or set AWS_PROFILE."
    if isinstance(error, SSOTokenLoadError | UnauthorizedSSOTokenError | TokenRetrievalError):
        return "your AWS login has expired: run `aws sso login`."
    if isinstance(error, ProfileNotFound | NoRegionError):
        return f"{error} (set AWS_PROFILE, or AWS_REGION)."
    if isinstance(error, EndpointConnectionError):
        return f"AWS cannot be reached ({error}): check the network, the proxy and the region."
    return f"{type(error).__name__}: {error}"
