"""docs/deploy.md, walked: each command in it is typed into a terminal, in its order, and prints what the page says.

In a copy of this checkout, with the real Terraform, our own root module, and AWS's real command line. Behind them are
the offline provider with an account in moto, a real PostgreSQL behind the Data API, and a real Airflow behind MWAA's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from psycopg import sql

from cd2.tasks.credentials import PLACEHOLDER
from local import aws
from local.postgres import EmbeddedPostgres
from local.settings import REPOSITORY
from local.stack import Stack
from tests.infra import account, data_api, ministack, mwaa_api, price_list, terminal
from tests.infra.deployed import page
from tests.infra.deployed.circumstances import PASSWORD, before, change, typed_in_sql
from tests.infra.json_server import Answer
from tests.infra.plan import TOOL, WITHOUT_TOOL, clean_environment, need_terraform
from tests.infra.tools import installed

pytestmark = pytest.mark.infra

AWS_CLI = "1.46.3"
ANSWERS = {
    "Type '1' to continue: ": "1",
    "Type 'prod' to continue: ": "prod",
    "DAP client id: ": "us-east-1#1a2b3c",
    "DAP client secret (not shown): ": "a-secret-that-nobody-sees",
}
SQL = re.compile(r"(?:ALTER|GRANT|ANALYZE)\b")
ENVIRONMENTS = ("dev", "prod")
MAKE = """#!/bin/bash
# The recipes of the Makefile, without the set-up: the copy shares its .venv with the checkout.
for word in "$@"; do case $word in *=*) export "${word?}" ;; esac; done
recipe=$(@MAKE@ --dry-run "$@" | grep -v '^scripts/setup') || exit 2
bash -ec "$recipe"
"""


class Account(account.Account):
    """The account, with what the commands look at after Terraform has made it."""

    def _ssm_parameter(self, request: dict[str, Any]) -> None:
        _, planned = account.states(request)
        if planned and not request.get("prior"):
            self.client("ssm").put_parameter(Name=planned["name"], Value=PLACEHOLDER, Type="SecureString")
        elif not planned:
            self.client("ssm").delete_parameter(Name=request["prior"]["name"])

    def _secretsmanager_secret_version(self, request: dict[str, Any]) -> None:
        _, planned = account.states(request)
        login = {"host": "db.example", "port": 5432, "dbname": "cd2", "username": "cd2_replication", "password": "pw"}
        if planned:
            self.client("secretsmanager").put_secret_value(
                SecretId=planned["secret_id"], SecretString=json.dumps(login)
            )

    def _rds_cluster(self, request: dict[str, Any]) -> dict[str, Any] | None:
        made = super()._rds_cluster(request)
        if made:
            login = json.dumps({"username": "cd2_admin", "password": PASSWORD})
            secrets = self.client("secretsmanager")
            secret = secrets.create_secret(
                Name=f"rds!{made['id']}-{len(secrets.list_secrets()['SecretList'])}", SecretString=login
            )
            made["master_user_secret"] = [{"secret_arn": secret["ARN"], "secret_status": "active", "kms_key_id": None}]
        return made

    def _sns_topic(self, request: dict[str, Any]) -> dict[str, Any] | None:
        prior, planned = account.states(request)
        if planned:
            arn = self.client("sns").create_topic(Name=planned["name"])["TopicArn"]
            return {"arn": arn, "id": arn}
        self.client("sns").delete_topic(TopicArn=prior["arn"])
        return None

    def _sns_topic_subscription(self, request: dict[str, Any]) -> dict[str, Any] | None:
        prior, planned = account.states(request)
        sns = self.client("sns")
        if planned:
            to = {"TopicArn": planned["topic_arn"], "Protocol": planned["protocol"], "Endpoint": planned["endpoint"]}
            return {"arn": sns.subscribe(**to, ReturnSubscriptionArn=True)["SubscriptionArn"]}
        sns.unsubscribe(SubscriptionArn=prior["arn"])
        return None

    def _security_group(self, request: dict[str, Any]) -> dict[str, Any] | None:
        prior, planned = account.states(request)
        ec2 = self.client("ec2")
        if planned and not prior:
            group = ec2.create_security_group(GroupName=planned["name"], Description="of the test")["GroupId"]
            return {"id": group}
        if not planned:
            ec2.delete_security_group(GroupId=prior["id"])
        return None


class MwaaApi(mwaa_api.MwaaApi):
    """One Airflow for both environments."""

    def answer(self, host: str, path: str, request: dict[str, Any]) -> Answer:
        return super().answer(host, path.replace("-prod", "-dev"), request)


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[None]:
    """As Aurora is after `terraform apply`."""
    postgres.create_role("cd2_admin", PASSWORD, "CREATEROLE CREATEDB")
    postgres.create_database("cd2", owner="cd2_admin")
    yield
    postgres.drop_database("cd2")
    for role in ("cd2_replication", "canvas_readers", "somebody", "OWNER", "cd2_admin"):
        postgres.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one."""
    folder = tmp_path / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """What comes first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "make").write_text(MAKE.replace("@MAKE@", shutil.which("make") or "make"))
    (folder / "make").chmod(0o755 | stat.S_IXUSR)
    (folder / "aws").symlink_to(installed("awscli", AWS_CLI) / "aws")
    (folder / "terraform").symlink_to(need_terraform())
    return folder


@pytest.mark.skipif(not TOOL.is_file(), reason=WITHOUT_TOOL)  # before a stack is started for nothing
def test_each_command_prints_what_the_page_says(
    checkout: Path,
    programs: Path,
    database: None,
    postgres: EmbeddedPostgres,
    stack: Stack,
    tmp_path: Path,
    moto: str,
) -> None:
    document = (REPOSITORY / "docs" / "deploy.md").read_text()
    walked = page.steps(document)
    commands = [step.command for step in walked]
    requests.post(f"{moto}/moto-api/reset", timeout=60).raise_for_status()
    clusters = [f"arn:aws:rds:{aws.REGION}:{aws.ACCOUNT}:cluster:canvas-data-2-{each}" for each in ENVIRONMENTS]
    data = data_api.DataApi(dict.fromkeys(clusters, ("127.0.0.1", int(postgres.port or 0))))
    mwaa = MwaaApi(stack.ui, stack.folder.secret("airflow_admin"))
    mwaa.environment["AirflowConfigurationOptions"] = {"cd2.namespaces": "canvas"}
    prices = price_list.complete("eu-central-1")
    with ExitStack() as opened:
        terraform = opened.enter_context(account.serving(Account(moto, aws.REGION), tmp_path, running=True))
        proxy = opened.enter_context(mwaa_api.serving(mwaa))
        alarms = opened.enter_context(ministack.running(tmp_path))
        environment = clean_environment(
            **aws.environment(moto),
            **terraform,
            **proxy,
            **{name.lower(): value for name, value in proxy.items() if name != "AWS_ENDPOINT_URL_MWAA"},
            AWS_ENDPOINT_URL_PRICING=opened.enter_context(price_list.serving(prices))["AWS_ENDPOINT_URL_PRICING"],
            AWS_ENDPOINT_URL_RDS_DATA=opened.enter_context(data_api.serving(data)),
            PATH=f"{programs}:{os.environ['PATH']}",
        )
        for name in ("PYTHONPATH", "YES"):
            environment.pop(name, None)
        variables = checkout / "infra" / "terraform" / "environments" / "dev.tfvars"
        variables.write_text(
            variables.read_text().replace("alert_emails = []", 'alert_emails = ["it@university.example"]')
        )
        screen = terminal.Terminal(checkout, environment, ANSWERS, timeout_s=1800)
        opened.callback(screen.close)
        for number, step in enumerate(walked):
            if SQL.match(step.command):
                typed_in_sql(step.command, postgres)
                continue
            typed = ""
            if step.command not in commands[:number]:
                typed = before(step.command, screen, stack, alarms, postgres)
                change(step.command, checkout)
            status, output = screen.run(step.command, typed)
            assert "a-secret-that-nobody-sees" not in output
            printed = page.costs(document) if step.command == "make costs" else step.printed
            problem = terminal.differs(output, printed or "...")
            if step.command == "make costs" and output != printed:
                problem = "the numbers are not those of the page"
            if problem or (status != 0) is not step.fails:
                pytest.fail(f"$ {step.command}\n{problem}\nIt ended with {status}:\n{output[-6000:]}", pytrace=False)
        assert not screen.when
