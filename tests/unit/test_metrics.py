"""The metrics of a run, over CloudWatch's real protocol (moto server)."""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest

from cd2.notification import metrics
from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import Freshness, OddVolume, TableResult
from cd2.settings import Settings

NOW = datetime.now(UTC)
USERS, COURSES, LOGS = (
    TableName("canvas", "users"),
    TableName("canvas", "courses"),
    TableName("canvas_logs", "web_logs"),
)
RESULTS = (
    TableResult(USERS, "sync", "complete", rows_upserted=1000, waited_s=12.5),
    TableResult(COURSES, "sync", "failed", error=ErrorInfo("E", "why")),
    TableResult(LOGS, "sync", "complete", rows_upserted=234, waited_s=100.0),
)
FRESHNESS = {
    USERS: Freshness(NOW - timedelta(minutes=1), None),
    COURSES: Freshness(NOW - timedelta(hours=5), NOW - timedelta(hours=3)),
    LOGS: Freshness(NOW - timedelta(minutes=2), None),
}
ODD = (OddVolume(LOGS, date(2026, 2, 28), 4, 5000),)
SUMMARY = RunSummary("prod", "run", NOW, NOW, RESULTS, freshness=FRESHNESS, odd_volumes=ODD)


def stored(metrics_namespace: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    """What CloudWatch has of a metric."""
    dimensions = [{"Name": "Environment", "Value": "prod"}]
    if namespace:
        dimensions.append({"Name": "Namespace", "Value": namespace})
    (point,) = boto3.client("cloudwatch").get_metric_statistics(
        Namespace=metrics_namespace,
        MetricName=name,
        Dimensions=dimensions,
        StartTime=NOW - timedelta(minutes=5),
        EndTime=NOW + timedelta(minutes=5),
        Period=600,
        Statistics=["Sum", "Minimum", "Maximum", "SampleCount"],
    )["Datapoints"]
    return dict(point)


@pytest.mark.usefixtures("aws")
def test_cloudwatch_gets_the_metrics_of_a_run() -> None:
    metrics.put(Settings(metrics_namespace="CanvasData2/a"), SUMMARY)
    assert stored("CanvasData2/a", "FreshnessSeconds")["Maximum"] == 5 * 3600
    assert stored("CanvasData2/a", "FreshnessSeconds", "canvas")["Maximum"] == 5 * 3600
    assert stored("CanvasData2/a", "FreshnessSeconds", "canvas_logs")["Maximum"] == 120
    assert stored("CanvasData2/a", "FailedTables")["Sum"] == 1
    assert stored("CanvasData2/a", "RowsWritten")["Sum"] == 1234
    waited = stored("CanvasData2/a", "SecondsWaitedForDap")
    assert (waited["SampleCount"], waited["Sum"], waited["Maximum"], waited["Minimum"]) == (2, 112.5, 100, 12.5)
    assert stored("CanvasData2/a", "VolumeAlerts")["Sum"] == 1
    assert stored("CanvasData2/a", "FailedTables")["Unit"] == "Count"


@pytest.mark.parametrize("path", [None, "/moto-api/no-such-page"], ids=["away", "other answers"])
@pytest.mark.usefixtures("aws")
def test_nothing_fails_if_cloudwatch_does(
    path: str | None, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint + path if path else "http://127.0.0.1:1")
    with caplog.at_level(logging.WARNING):
        metrics.put(Settings(metrics_namespace="CanvasData2/b"), SUMMARY)
    (record,) = [record for record in caplog.records if record.name == "cd2.notification.metrics"]
    assert "The metrics could not be sent to CloudWatch" in record.getMessage()
    assert "cloudwatch:PutMetricData for the namespace CanvasData2/b" in record.getMessage()


def names(summary: RunSummary, **options: Any) -> set[str]:
    return {str(metric["MetricName"]) for metric in metrics.metric_data(summary, **options)}


def test_a_run_about_some_tables_says_nothing_about_all() -> None:
    assert names(replace(SUMMARY, partial=True)) == {"RowsWritten", "SecondsWaitedForDap", "VolumeAlerts"}


def test_a_report_after_a_clear_counts_nothing_twice() -> None:
    assert names(replace(SUMMARY, rerun=True)) == {"FreshnessSeconds", "FailedTables"}


def test_a_dry_run_has_no_metrics() -> None:
    assert names(replace(SUMMARY, results=(), listed_only=("canvas.users",))) == set()


def test_volumes_that_are_not_looked_for_are_not_counted() -> None:
    assert "VolumeAlerts" not in names(SUMMARY, volumes=False)


def test_unknown_freshness_is_left_out() -> None:
    """The database may be what failed; an alarm takes missing data for a breach."""
    assert "FreshnessSeconds" not in names(replace(SUMMARY, freshness={}))
