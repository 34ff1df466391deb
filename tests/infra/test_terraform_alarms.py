"""The planned alarms watch metrics that AWS publishes, and mean what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cd2.notification.metrics import metric_data
from cd2.notification.summary import RunSummary
from cd2.replication.names import TableName
from cd2.replication.results import Freshness, TableResult
from scripts.compile_constraints import ROOT
from tests.infra.deployment import Deployment
from tests.infra.plan import planned, resources

pytestmark = pytest.mark.infra

ACCOUNT = "123456789012"
NAME = "canvas-data-2-dev"


ALARMS = {
    "run-failed": ("AmazonMWAA", "DAGDurationFailed", {"Environment": NAME, "DAG": "canvas_data_2"}),
    "nothing-succeeded": ("AmazonMWAA", "DAGDurationSuccess", {"Environment": NAME, "DAG": "canvas_data_2"}),
    "scheduler-heartbeat": ("AmazonMWAA", "SchedulerHeartbeat", {"Environment": NAME, "Function": "Scheduler"}),
    "data-old": ("CanvasData2/dev", "FreshnessSeconds", {"Environment": "dev"}),
    "tables-failed": ("CanvasData2/dev", "FailedTables", {"Environment": "dev"}),
    "database-capacity": ("AWS/RDS", "ACUUtilization", {"DBClusterIdentifier": NAME, "Role": "WRITER"}),
    "database-storage": ("AWS/RDS", "VolumeBytesUsed", {"DBClusterIdentifier": NAME}),
}


def test_the_alarms_watch_metrics_that_aws_publishes_and_tell_the_topic() -> None:
    alarms = {
        values["alarm_name"].removeprefix(f"{NAME}-"): values
        for address, values in resources(planned("dev")).items()
        if ".aws_cloudwatch_metric_alarm.this" in address
    }
    found = {name: (a["namespace"], a["metric_name"], a["dimensions"]) for name, a in alarms.items()}
    assert found == ALARMS
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:{NAME}"
    assert all(alarm["alarm_actions"] == [topic] and alarm["ok_actions"] == [topic] for alarm in alarms.values())
    # Silence is the alarm where something must be heard, and no alarm where nothing is the rule.
    assert {name for name, alarm in alarms.items() if alarm["treat_missing_data"] == "breaching"} == {
        "nothing-succeeded", "scheduler-heartbeat", "data-old",
    }  # fmt: skip
    assert sorted(name for name, alarm in alarms.items() if alarm["treat_missing_data"] == "ignore") == [
        "database-storage", "tables-failed",
    ]  # fmt: skip
    silence = alarms["nothing-succeeded"]
    assert silence["period"] * silence["evaluation_periods"] == 6 * 3600
    assert (silence["statistic"], silence["threshold"]) == ("SampleCount", 1)
    # CloudWatch evaluates at most a day, with periods of up to an hour.
    longest = resources(planned("dev", hours_without_success="24"))
    (day,) = [values for address, values in longest.items() if "nothing-succeeded" in address]
    assert day["period"] * day["evaluation_periods"] == 86400
    assert day["period"] <= 3600


def test_tasks_that_wait_while_none_runs_raise_an_alarm_and_running_loads_do_not() -> None:
    alarm = resources(planned("dev"))["module.monitoring.aws_cloudwatch_metric_alarm.tasks_waiting"]
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:{NAME}"
    assert (alarm["alarm_actions"], alarm["ok_actions"], alarm["treat_missing_data"]) == (
        [topic], [topic], "notBreaching",
    )  # fmt: skip
    queries = {query["id"]: query for query in alarm["metric_query"]}
    metrics = {name: query["metric"][0] for name, query in queries.items() if query["metric"]}
    assert {name: (m["namespace"], m["metric_name"], m["stat"], m["dimensions"]) for name, m in metrics.items()} == {
        "waiting": ("AWS/MWAA", "QueuedTasks", "Minimum", {"Environment": NAME}),
        "running": ("AWS/MWAA", "RunningTasks", "Maximum", {"Environment": NAME}),
    }
    assert [name for name, query in queries.items() if query["return_data"]] == ["stuck"]
    assert {m["period"] * alarm["evaluation_periods"] for m in metrics.values()} == {1800}
    parts = re.fullmatch(r"IF\((.+), (\d), (\d)\)", queries["stuck"]["expression"])
    assert parts

    def breaches(waiting: float | None, running: float | None) -> bool:
        """The expression as CloudWatch would calculate it for one period; None is missing data."""
        names = {"waiting": waiting, "running": running, "FILL": lambda value, other: other if value is None else value}
        condition, yes, no = parts.groups()
        value = int(yes if eval(condition.replace(" AND ", " and "), {"__builtins__": {}}, names) else no)
        return bool(value >= alarm["threshold"])

    assert breaches(waiting=3, running=0)
    assert breaches(waiting=1, running=None)
    assert not breaches(waiting=0, running=5), "loads that run for hours"
    assert not breaches(waiting=5, running=5), "a first load: more tables than slots"
    assert not breaches(waiting=None, running=None), "nothing at all"


def puts(environment: str, *namespaces: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """The metrics that the DAG puts for a run: names and dimensions."""
    now = datetime.now(UTC)
    tables = [TableName(namespace, "users") for namespace in namespaces]
    results = tuple(TableResult(table, "sync", "complete", waited_s=1) for table in tables)
    summary = RunSummary(environment, "run", now, now, results, freshness=dict.fromkeys(tables, Freshness(now, None)))
    return {
        (metric["MetricName"], frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"]))
        for metric in metric_data(summary)
    }


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_alarms_watch_metrics_that_the_dag_puts_where_it_puts_them(environment: str) -> None:
    made = resources(planned(environment))
    options = made["module.environment.aws_mwaa_environment.this"]["airflow_configuration_options"]
    watched = {
        (values["metric_name"], frozenset(values["dimensions"].items()))
        for address, values in made.items()
        if ".aws_cloudwatch_metric_alarm.this" in address and values["namespace"] == options["cd2.metrics_namespace"]
    }
    assert len(watched) == 2
    assert watched < puts(options["cd2.environment"], "canvas")


def test_the_dashboard_shows_all_metrics_that_the_dag_puts(deployment: Deployment) -> None:
    """What is put and looked at by nobody costs only money."""
    dashboard = json.loads(
        deployment.attributes("module.monitoring", "aws_cloudwatch_dashboard.this")["dashboard_body"]
    )
    shown = {
        (name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        for (where, name, *dimensions) in dashboard_metrics(dashboard)
        if where == "CanvasData2/dev"
    }
    assert shown == puts("dev", "canvas")


def dashboard_metrics(dashboard: dict[str, Any]) -> Iterator[list[str]]:
    """The metrics of all widgets, with the dots of CloudWatch's short form filled in."""
    for widget in dashboard["widgets"]:
        before: list[str] = []
        for metric in widget["properties"].get("metrics", ()):
            words = [word for word in metric if isinstance(word, str)]
            before = [before[n] if word == "." else word for n, word in enumerate(words)] or before
            if words:
                yield before


def test_the_dashboard_shows_from_when_on_data_is_old(deployment: Deployment) -> None:
    body = json.loads(deployment.attributes("module.monitoring", "aws_cloudwatch_dashboard.this")["dashboard_body"])
    (age,) = [w["properties"] for w in body["widgets"] if w["properties"]["title"].startswith("Age of the data")]
    assert [line["value"] for line in age["annotations"]["horizontal"]] == [24]
    expressions = {e["id"]: e for metric in age["metrics"] for e in metric if isinstance(e, dict)}
    for expression in [e["expression"] for e in expressions.values() if "expression" in e]:
        used = re.fullmatch(r"FILL\((\w+), REPEAT\) / 3600", expression)
        assert used
        assert expressions[used[1]]["visible"] is False


def test_without_metrics_nothing_waits_for_them() -> None:
    made = resources(planned("dev", settings='{"metrics_namespace": ""}'))
    alarms = {values["alarm_name"] for address, values in made.items() if ".aws_cloudwatch_metric_alarm." in address}
    assert len(alarms) == 6
    assert not {f"{NAME}-data-old", f"{NAME}-tables-failed"} & alarms


def test_the_alarms_watch_the_dag_that_there_is() -> None:
    dag = re.search(r'DAG\(\s*"(\w+)"', (ROOT / "dags" / "canvas_data_2.py").read_text())
    assert dag
    assert dag[1] == ALARMS["run-failed"][2]["DAG"]
