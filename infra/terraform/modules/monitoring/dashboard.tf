locals {
  runs = [
    {
      title   = "Runs: duration of those that succeeded and that failed"
      metrics = [["AmazonMWAA", "DAGDurationSuccess", "DAG", var.dag_id, "Environment", var.name], [".", "DAGDurationFailed", ".", ".", ".", "."]]
      stat    = "Maximum"
    },
    {
      title   = "Queue: tasks waiting and running"
      metrics = [["AWS/MWAA", "QueuedTasks", "Environment", var.name], [".", "RunningTasks", ".", "."]]
      stat    = "Maximum"
    },
    {
      title   = "Scheduler: heartbeats; errors importing DAGs"
      metrics = [["AmazonMWAA", "SchedulerHeartbeat", "Function", "Scheduler", "Environment", var.name], [".", "ImportErrors", ".", "DAG Processing", ".", "."]]
      stat    = "Sum"
    },
  ]
  aurora = [
    {
      title   = "Aurora: capacity (ACU) and connections"
      metrics = [["AWS/RDS", "ServerlessDatabaseCapacity", "DBClusterIdentifier", local.database.DBClusterIdentifier], [".", "DatabaseConnections", ".", "."]]
      stat    = "Maximum"
    },
    {
      title   = "Aurora: use of the highest capacity by the writer (%)"
      metrics = [["AWS/RDS", "ACUUtilization", "DBClusterIdentifier", local.database.DBClusterIdentifier, "Role", "WRITER"]]
      stat    = "Maximum"
    },
    {
      title   = "Aurora: volume (bytes)"
      metrics = [["AWS/RDS", "VolumeBytesUsed", "DBClusterIdentifier", local.database.DBClusterIdentifier]]
      stat    = "Average"
    },
  ]
  # One point for each run, in hours with a run.
  data = [
    {
      title = "Age of the data: since the table that waits longest was last found equal (hours)"
      metrics = concat(
        [
          [{ expression = "FILL(oldest, REPEAT) / 3600", label = "oldest", id = "hours" }],
          [var.metrics_namespace, "FreshnessSeconds", "Environment", var.metrics_environment, { id = "oldest", visible = false }],
        ],
        [for index, name in var.data_namespaces : [
          { expression = "FILL(age${index}, REPEAT) / 3600", label = name, id = "hours${index}" },
        ]],
        [for index, name in var.data_namespaces : [
          var.metrics_namespace, "FreshnessSeconds", "Environment", var.metrics_environment, "Namespace", name,
          { id = "age${index}", visible = false },
        ]],
      )
      stat        = "Maximum", period = 3600
      annotations = { horizontal = [{ label = "alarm data-old", value = var.hours_data_may_be_old }] }
    },
    {
      title   = "Tables: failed; with an odd number of changes"
      metrics = [[var.metrics_namespace, "FailedTables", "Environment", var.metrics_environment], [".", "VolumeAlerts", ".", "."]]
      stat    = "Maximum", period = 3600
    },
    {
      title   = "Rows written"
      metrics = [[var.metrics_namespace, "RowsWritten", "Environment", var.metrics_environment]]
      stat    = "Sum", period = 3600
    },
    {
      title = "A table's wait for DAP: longest and mean (seconds)"
      metrics = [
        [var.metrics_namespace, "SecondsWaitedForDap", "Environment", var.metrics_environment, { label = "longest" }],
        [".", ".", ".", ".", { stat = "Average", label = "mean" }],
      ]
      stat = "Maximum", period = 3600
    },
  ]
  # Lists of different shapes: a conditional would need one type for all.
  graphs = [for each in concat(
    [for graph in local.data : graph if var.metrics_namespace != ""],
    local.runs,
    [for graph in local.aurora : graph if var.watch_database],
  ) : each]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm", x = 0, y = 0, width = 24, height = 3
        properties = { title = "Alarms", alarms = [for alarm in local.all_alarms : alarm.arn] }
      }],
      [for index, graph in local.graphs : {
        type = "metric", x = 8 * (index % 3), y = 3 + 6 * floor(index / 3), width = 8, height = 6
        properties = merge(
          {
            title  = graph.title, metrics = graph.metrics, stat = graph.stat
            region = var.region, period = try(graph.period, 300), view = "timeSeries"
          },
          { for name in ["annotations"] : name => graph[name] if can(graph[name]) },
        )
      }],
    )
  })
}
