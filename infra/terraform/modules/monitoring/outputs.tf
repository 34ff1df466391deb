output "alarm_names" {
  description = "Names of the alarms."
  value       = sort([for alarm in local.all_alarms : alarm.alarm_name])
}

output "dashboard_name" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
