# Alarms for what the notification of a run cannot report, above all that there was no run.
#
# MWAA publishes Airflow's own metrics in the namespace AmazonMWAA, those of its containers and queue in AWS/MWAA; the DAG
# puts its own once for each run (plugins/cd2/notification/metrics.py).
#
# What the metrics mean, by AWS's pages:
# - DAGDurationFailed, DAGDurationSuccess: timers in milliseconds, a point when a run ends so, none otherwise;
#   SchedulerHeartbeat: a counter, several in a minute for each scheduler, none when it is gone
#   (docs.aws.amazon.com/mwaa/latest/userguide/access-metrics-cw.html)
# - ACUUtilization: capacity in percent of the maximum, each minute, 0 while paused; VolumeBytesUsed: bytes, of the whole cluster
#   (docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.AuroraMonitoring.Metrics.html)
# - what CloudWatch makes of missing points: it first looks some periods further back, so that an alarm for silence comes
#   up to as much later (docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html)

locals {
  dag       = { Environment = var.name, DAG = var.dag_id }
  scheduler = { Environment = var.name, Function = "Scheduler" }
  queue     = { Environment = var.name }
  database  = { DBClusterIdentifier = var.cluster_identifier == null ? "" : var.cluster_identifier }
  # Without the role, the metric is the mean of all instances: an idle reader would hide a writer at its limit.
  writer = merge(local.database, { Role = "WRITER" })
  run    = { Environment = var.metrics_environment }
  gib    = 1024 * 1024 * 1024

  waiting_periods = var.queue_age_seconds / 300
  all_alarms      = concat(values(aws_cloudwatch_metric_alarm.this), [aws_cloudwatch_metric_alarm.tasks_waiting])

  alarms = {
    run-failed = {
      description = "A run of ${var.dag_id} failed: the notification of the run says why, docs/operations.md what to do."
      namespace   = "AmazonMWAA", metric = "DAGDurationFailed", dimensions = local.dag
      statistic   = "SampleCount", comparison = "GreaterThanOrEqualToThreshold", threshold = 1
      period      = 300, periods = 1, missing = "notBreaching"
    }
    nothing-succeeded = {
      description = "No run of ${var.dag_id} succeeded for ${var.hours_without_success} hours: it may be paused, hanging, or failing."
      namespace   = "AmazonMWAA", metric = "DAGDurationSuccess", dimensions = local.dag
      statistic   = "SampleCount", comparison = "LessThanThreshold", threshold = 1
      period      = 3600, periods = var.hours_without_success, missing = "breaching"
    }
    scheduler-heartbeat = {
      description = "Airflow's scheduler sends no heartbeat: see the environment's state and its scheduler log."
      namespace   = "AmazonMWAA", metric = "SchedulerHeartbeat", dimensions = local.scheduler
      statistic   = "Sum", comparison = "LessThanThreshold", threshold = 1
      period      = 300, periods = 3, missing = "breaching"
    }
  }
  # Data is old, too, when nobody says how old it is: the DAG is paused, its runs do not get as far as the tables, or what
  # they put does not reach CloudWatch. Minimum: one run that found all data young enough ends the alarm.
  run_alarms = {
    data-old = {
      description = "For ${var.hours_without_success} hours no run of ${var.dag_id} has reported that all data is younger than ${var.hours_data_may_be_old} hours: see cd2.status for the tables, and whether runs end."
      namespace   = var.metrics_namespace, metric = "FreshnessSeconds", dimensions = local.run
      statistic   = "Minimum", comparison = "GreaterThanThreshold", threshold = var.hours_data_may_be_old * 3600
      period      = 3600, periods = var.hours_without_success, missing = "breaching"
    }
    # Unlike run-failed, which is over within minutes, it lasts until a run says that they no longer fail.
    tables-failed = {
      description = "${var.failed_tables_alarm == 1 ? "Tables" : "${var.failed_tables_alarm} or more tables"} failed in the last run of ${var.dag_id}: the notification of the run names them, docs/operations.md says what to do."
      namespace   = var.metrics_namespace, metric = "FailedTables", dimensions = local.run
      statistic   = "Maximum", comparison = "GreaterThanOrEqualToThreshold", threshold = var.failed_tables_alarm
      period      = 300, periods = 1, missing = "ignore"
    }
  }
  database_alarms = {
    database-capacity = {
      description = "Aurora's writer has used over 90 % of the maximum capacity for 15 minutes: raise database_max_capacity, or find the query."
      namespace   = "AWS/RDS", metric = "ACUUtilization", dimensions = local.writer
      statistic   = "Average", comparison = "GreaterThanThreshold", threshold = 90
      period      = 300, periods = 3, missing = "notBreaching"
    }
    # A volume of which nothing is heard, because the database is paused, is as large as before.
    database-storage = {
      description = "Aurora's volume is larger than ${var.storage_gib} GiB: raise database_storage_alarm_gib if that is expected."
      namespace   = "AWS/RDS", metric = "VolumeBytesUsed", dimensions = local.database
      statistic   = "Average", comparison = "GreaterThanThreshold", threshold = var.storage_gib * local.gib
      period      = 3600, periods = 1, missing = "ignore"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = merge(
    local.alarms,
    var.metrics_namespace == "" ? {} : local.run_alarms,
    var.watch_database ? local.database_alarms : {},
  )

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.missing
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

# Not the age of the oldest task: Celery acknowledges a task when it ends, so to the queue a load that has run for an hour
# is an hour old. Not tasks that wait beside others that run either: more tables than slots is what a first load looks like.
resource "aws_cloudwatch_metric_alarm" "tasks_waiting" {
  alarm_name          = "${var.name}-tasks-waiting"
  alarm_description   = "Tasks have waited for a worker for ${local.waiting_periods * 5} minutes, and none has run: workers do not start. See the environment's state and its worker log."
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = local.waiting_periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]

  metric_query {
    id          = "stuck"
    label       = "Tasks wait and none runs"
    expression  = "IF(FILL(waiting, 0) >= 1 AND FILL(running, 0) < 1, 1, 0)"
    return_data = true
  }

  metric_query {
    id = "waiting"

    metric {
      namespace   = "AWS/MWAA"
      metric_name = "QueuedTasks"
      dimensions  = local.queue
      stat        = "Minimum"
      period      = 300
    }
  }

  metric_query {
    id = "running"

    metric {
      namespace   = "AWS/MWAA"
      metric_name = "RunningTasks"
      dimensions  = local.queue
      stat        = "Maximum"
      period      = 300
    }
  }
}
