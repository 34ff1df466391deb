output "dap_parameter_names" {
  description = "SSM parameters of the DAP key: id, then secret."
  value       = [aws_ssm_parameter.dap_client_id.name, aws_ssm_parameter.dap_client_secret.name]
}

output "dap_parameter_path" {
  description = "What is before the names of the SSM parameters."
  value       = local.path
}

output "replication_secret_name" {
  description = "Name of the replication user's secret, null if none is made."
  value       = one(aws_secretsmanager_secret.replication[*].name)
}

output "replication_secret_arn" {
  description = "ARN of the replication user's secret, null if none is made."
  value       = one(aws_secretsmanager_secret.replication[*].arn)

  # Its readers must find a value in it.
  depends_on = [aws_secretsmanager_secret_version.replication]
}
