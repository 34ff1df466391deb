"""What alarms and dashboards need to know about a run: metrics in CloudWatch.

Not by Airflow's own metrics: MWAA sends those to a StatsD of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cd2.notification.sns import aws_reason

if TYPE_CHECKING:
    from cd2.notification.summary import RunSummary
    from cd2.settings import Settings

log = logging.getLogger(__name__)


def put(settings: Settings, summary: RunSummary) -> None:
    """Put the metrics of a run; if that fails, the log says so, and nothing else happens."""
    data = metric_data(summary, volumes=settings.volume_alerts == "on")
    if not data:
        return
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
        from botocore.config import Config

        # Without a way to CloudWatch, for example in a subnet without endpoint, the message must not wait for minutes.
        patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        hook = AwsBaseHook(aws_conn_id=settings.aws_conn_id, client_type="cloudwatch", config=patience)
        hook.get_conn().put_metric_data(Namespace=settings.metrics_namespace, MetricData=data)
    except Exception as error:
        log.warning(
            "The metrics could not be sent to CloudWatch (%s): check that the role has cloudwatch:PutMetricData for "
            "the namespace %s, and that CloudWatch can be reached. The run is not affected.",
            aws_reason(error),
            settings.metrics_namespace,
        )
    else:
        log.info("Sent %d metrics to CloudWatch, namespace %s.", len(data), settings.metrics_namespace)


def metric_data(summary: RunSummary, *, volumes: bool = True) -> list[dict[str, Any]]:
    """The metrics of a run, as `PutMetricData` takes them (docs/reference.md).

    A run about some tables says nothing about the others, and a report of cleared tasks does not count again what the
    first one has counted.

    :param volumes: whether unusual volumes are looked for.
    """
    if not summary.results:
        return []
    metrics = _Metrics(summary)
    if not summary.partial:
        ages: dict[str, float] = {}
        for result in summary.results:
            if (age := summary.age(result.table)) is not None:
                namespace = result.table.namespace
                ages[namespace] = max(ages.get(namespace, 0.0), age.total_seconds())
        if ages:
            metrics.add("FreshnessSeconds", "Seconds", Value=max(ages.values()))
        for namespace, age_s in sorted(ages.items()):
            metrics.add("FreshnessSeconds", "Seconds", namespace, Value=age_s)
        metrics.add("FailedTables", "Count", Value=float(len(summary.failed)))
    if not summary.rerun:
        metrics.add("RowsWritten", "Count", Value=float(sum(result.rows_upserted for result in summary.results)))
        waits = [result.waited_s for result in summary.results if result.waited_s]
        if waits:
            of_tables = {
                "SampleCount": float(len(waits)),
                "Sum": sum(waits),
                "Minimum": min(waits),
                "Maximum": max(waits),
            }
            metrics.add("SecondsWaitedForDap", "Seconds", StatisticValues=of_tables)
        if volumes:
            metrics.add("VolumeAlerts", "Count", Value=float(len(summary.odd_volumes)))
    return metrics.data


class _Metrics:
    def __init__(self, summary: RunSummary) -> None:
        self._summary = summary
        self.data: list[dict[str, Any]] = []

    def add(self, name: str, unit: str, namespace: str | None = None, **value: Any) -> None:
        dimensions = [{"Name": "Environment", "Value": self._summary.environment}]
        if namespace:
            dimensions.append({"Name": "Namespace", "Value": namespace})
        metric = {"MetricName": name, "Dimensions": dimensions, "Timestamp": self._summary.finished, "Unit": unit}
        self.data.append(metric | value)
