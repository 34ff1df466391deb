output "region" {
  description = "AWS region."
  value       = local.region
}

output "environment" {
  description = "dev, stg or prod."
  value       = var.environment
}

output "mwaa_environment_name" {
  description = "Name of the MWAA environment."
  value       = module.environment.name
}

output "webserver_url" {
  description = "URL of Airflow's UI."
  value       = module.environment.webserver_url
}

output "bucket_name" {
  description = "Bucket with dags, plugins, requirements and startup script."
  value       = module.storage.bucket_name
}

output "execution_role_arn" {
  description = "Role that the DAG runs as."
  value       = module.environment.role_arn
}

output "execution_role_policy" {
  description = "Rights that the execution role needs (JSON), for a role of your own."
  value       = module.environment.role_policy
}

output "execution_role_trust_policy" {
  description = "Who may assume the execution role (JSON), for a role of your own."
  value       = module.environment.role_trust_policy
}

output "sns_topic_arn" {
  description = "Topic of notifications and alarms."
  value       = module.notifications.topic_arn
}

output "kms_key_arn" {
  description = "Key that encrypts everything."
  value       = local.kms_key_arn
}

output "database_cluster_arn" {
  description = "Aurora cluster; null with your own database."
  value       = one(module.database[*].cluster_arn)
}

output "database_admin_secret_arn" {
  description = "Secret of Aurora's administrator; null with your own database."
  value       = one(module.database[*].admin_secret_arn)
}

output "database_name" {
  description = "Name of the replica's database; null with your own database (see its secret)."
  value       = one(module.database[*].database_name)
}

output "database_security_group_id" {
  description = "Security group of the database: add a rule for each of your analysts' tools."
  value       = var.create_database ? one(module.database[*].security_group_id) : var.database_security_group_id
}

output "replication_secret_arn" {
  description = "Secret of the replication user: host, port, dbname, username, password."
  value       = var.create_database ? module.secrets.replication_secret_arn : var.database_secret_arn
}

output "dap_parameter_names" {
  description = "SSM parameters of the DAP key: id, then secret."
  value       = module.secrets.dap_parameter_names
}

output "log_group_prefix" {
  description = "Prefix of Airflow's log groups."
  value       = module.environment.log_group_prefix
}

output "dashboard_name" {
  description = "CloudWatch dashboard."
  value       = module.monitoring.dashboard_name
}

output "alarm_names" {
  description = "CloudWatch alarms."
  value       = module.monitoring.alarm_names
}
