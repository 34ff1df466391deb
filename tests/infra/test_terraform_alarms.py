"""The planned alarms watch metrics that AWS publishes, and mean what they say."""

from __future__ import annotations

import re

import pytest

from scripts.compile_constraints import ROOT
from tests.infra.plan import planned, resources

pytestmark = pytest.mark.infra

ACCOUNT = "123456789012"
NAME = "canvas-data-2-dev"


ALARMS = {
    "run-failed": ("AmazonMWAA", "DAGDurationFailed", {"Environment": NAME, "DAG": "canvas_data_2"}),
    "nothing-succeeded": ("AmazonMWAA", "DAGDurationSuccess", {"Environment": NAME, "DAG": "canvas_data_2"}),
    "scheduler-heartbeat": ("AmazonMWAA", "SchedulerHeartbeat", {"Environment": NAME, "Function": "Scheduler"}),
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
        "nothing-succeeded", "scheduler-heartbeat",
    }  # fmt: skip
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


def test_the_alarms_watch_the_dag_that_there_is() -> None:
    dag = re.search(r'DAG\(\s*"(\w+)"', (ROOT / "dags" / "canvas_data_2.py").read_text())
    assert dag
    assert dag[1] == ALARMS["run-failed"][2]["DAG"]
