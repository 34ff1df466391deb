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
  graphs = concat(local.runs, var.watch_database ? local.aurora : [])
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
        properties = {
          title  = graph.title, metrics = graph.metrics, stat = graph.stat
          region = var.region, period = 300, view = "timeSeries"
        }
      }],
    )
  })
}
