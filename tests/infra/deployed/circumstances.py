"""What must be so before a command of docs/deploy.md is typed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import boto3
import psycopg

from local.postgres import EmbeddedPostgres
from local.stack import Stack
from scripts.mwaa import DAG_ID
from tests.e2e.story import ENDLESS_S
from tests.infra import ministack, terminal

PASSWORD = "admin password"
OF_ALARMS = ("AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL_SNS", "AWS_ENDPOINT_URL_SQS")
"""Moto's alarms tell nobody; MiniStack's do."""


def typed_in_sql(statement: str, postgres: EmbeddedPostgres) -> None:
    """Run a statement of the page as a superuser, and look whether it did what the page says."""
    if statement.startswith("GRANT"):
        postgres.create_role("somebody", PASSWORD)
    with psycopg.connect(postgres.dsn("cd2"), autocommit=True) as connection:
        connection.execute(statement.encode())
        if statement.startswith("GRANT"):
            (reads,) = connection.execute("SELECT pg_has_role('somebody', 'canvas_readers', 'USAGE')").fetchone() or ()
            assert reads
        if of_role := re.fullmatch(r"ALTER ROLE (\w+) SET (\w+) = (\w+);", statement):
            found = "SELECT %s = ANY (rolconfig) FROM pg_roles WHERE rolname = %s"
            setting = f"{of_role[2]}={of_role[3]}"
            assert connection.execute(found, (setting, of_role[1])).fetchone() == (True,)


def change(command: str, checkout: Path) -> None:
    """What is changed before a command.

    A setting of the environment: the offline provider does not know that a changed file has a new version.
    """
    if command == "make deploy ENV=dev WAIT=240":
        with (checkout / "infra" / "terraform" / "environments" / "dev.tfvars").open("a") as variables:
            variables.write('weekly_maintenance_window_start = "SUN:05:30"\n')


def before(
    command: str, screen: terminal.Terminal, stack: Stack, alarms: ministack.MiniStack, postgres: EmbeddedPostgres
) -> str:
    """What must be so before a command; returns what is typed after it."""
    match command.split():
        case ["make", "smoke", "ENV=dev", "ARGS=--unpause"]:
            stack.notifications()
            stack.api.call("PATCH", f"/dags/{DAG_ID}", json={"is_paused": True}, params={"update_mask": "is_paused"})
        case ["make", "smoke", "ENV=dev", "ALARM=1"]:
            for run in stack.api.unfinished_runs():  # the one that was just started loads all tables
                stack.api.fail_run(run)
            topic = alarms.client("sns").create_topic(Name="canvas-data-2-dev")["TopicArn"]
            alarms.client("cloudwatch").put_metric_alarm(
                AlarmName="canvas-data-2-dev-run-failed", Namespace="AmazonMWAA", MetricName="DAGDurationFailed",
                Period=300, Statistic="SampleCount", ComparisonOperator="GreaterThanOrEqualToThreshold", Threshold=1,
                EvaluationPeriods=1, AlarmActions=[topic], TreatMissingData="notBreaching",
            )  # fmt: skip
            variables = " ".join(f"{name}={alarms.endpoint}" for name in OF_ALARMS)
            screen.run(f"export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test {variables}")
        case ["aws", "sns", *_]:
            screen.run(f"unset {' '.join(OF_ALARMS)}")
        case ["read" | "make", "-rs" | "prepare-database", *_]:
            return before_database(command, screen, postgres)
        case ["make", "deploy", "ENV=dev", "WAIT=240"]:
            screen.run("rm FILE")
            hold_a_run(screen, stack)
        case ["make", "deploy", "ENV=prod"]:  # RDS may write to its log even after the command has deleted it
            boto3.client("logs").create_log_group(logGroupName="/aws/rds/cluster/canvas-data-2-prod/postgresql")
        case ["make", "destroy", "ENV=prod"]:
            screen.run("make deploy ENV=prod")
    return ""


def before_database(command: str, screen: terminal.Terminal, postgres: EmbeddedPostgres) -> str:
    match command.split():
        case ["read", "-rs", *_]:
            return f"{postgres.dsn('cd2', 'cd2_admin', PASSWORD)}\n"
        case ["make", "prepare-database", "ENV=dev", 'ARGS="--dsn-file', *_]:
            screen.run("unset CD2_ADMIN_DSN")
            screen.run(f"(umask 077 && printf %s '{postgres.dsn('cd2', 'cd2_admin', PASSWORD)}' > FILE)")
        case ["make", "prepare-database", "ENV=dev", 'ARGS="--member-of', *_]:
            with psycopg.connect(postgres.dsn("cd2", "cd2_admin", PASSWORD), autocommit=True) as connection:
                connection.execute('CREATE ROLE "OWNER"')
        case ["make", "prepare-database", "ENV=dev", 'ARGS="--reader', *_]:
            screen.run("unset CD2_ADMIN_DSN")
    return ""


def hold_a_run(screen: terminal.Terminal, stack: Stack) -> None:
    """Have a run wait for its table until the terminal says that it is waited for."""
    stack.simulator.job_seconds(ENDLESS_S)
    run = stack.trigger({"namespaces": ["canvas"], "tables": ["users"]})
    deadline = time.monotonic() + 600
    while run not in str(stack.api.call("GET", f"/dags/{DAG_ID}/dagRuns", params={"state": "running"})):
        assert time.monotonic() < deadline, "the run does not begin"
        time.sleep(0.2)

    def release() -> None:
        stack.simulator.job_seconds(0)
        stack.simulator.finish_jobs()

    screen.when[f"waiting for the run {run}"] = release
