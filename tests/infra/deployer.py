"""Who deploys: a role of MiniStack, which enforces IAM, with the rights of docs/deploy-policy*.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts import deploy_policy
from tests.infra.ministack import ACCOUNT, REGION, MiniStack, running

NAME = "canvas-data-2-dev"
BUCKET = f"{NAME}-{ACCOUNT}-{REGION}"
DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
}
TRUST = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "airflow.amazonaws.com"}, "Action": "sts:AssumeRole"}],
})  # fmt: skip


class Deployer:
    """Their clients."""

    def __init__(self, ministack: MiniStack, credentials: dict[str, str]) -> None:
        self.ministack, self._credentials = ministack, credentials

    def client(self, service: str) -> Any:
        return self.ministack.client(service, self._credentials)


@contextmanager
def deploying(folder: Path) -> Iterator[Deployer]:
    """The account, with things in it that belong to others."""
    with running(folder) as ministack:
        iam = ministack.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        for name, policy in deploy_policy.policies(account=ACCOUNT, region=REGION).items():
            iam.put_role_policy(RoleName="deployer", PolicyName=name, PolicyDocument=json.dumps(policy))
        for bucket in ("warehouse", "other"):
            ministack.client("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        iam.create_role(RoleName="admin", AssumeRolePolicyDocument=TRUST)
        ministack.client("ssm").put_parameter(Name="/dev/payroll/password", Value="x", Type="SecureString")
        ministack.client("secretsmanager").create_secret(Name="dev/payroll", SecretString="x")
        ministack.client("sns").create_topic(Name="payroll")
        credentials = ministack.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
        yield Deployer(ministack, credentials)
