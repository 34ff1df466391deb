output "name" {
  description = "Name of the environment."
  value       = aws_mwaa_environment.this.name
}

output "webserver_url" {
  description = "URL of the UI."
  value       = "https://${aws_mwaa_environment.this.webserver_url}"
}

output "role_arn" {
  description = "ARN of the execution role."
  value       = aws_iam_role.this.arn
}

output "security_group_id" {
  description = "Security group of the environment."
  value       = aws_security_group.this.id
}

output "log_group_prefix" {
  description = "Prefix of the log groups."
  value       = "airflow-${var.name}-"
}
