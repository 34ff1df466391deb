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
  value       = local.role_arn
}

output "security_group_id" {
  description = "Security group of the environment."
  value       = aws_security_group.this.id
}

output "log_group_prefix" {
  description = "Prefix of the log groups."
  value       = "airflow-${var.name}-"
}

output "role_policy" {
  description = "The rights that the execution role needs, as JSON: for a role of your own."
  value       = local.policy
}

output "role_trust_policy" {
  description = "Who may assume the execution role, as JSON: for a role of your own."
  value       = local.trust_policy
}
