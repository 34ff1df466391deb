output "athena_catalog" {
  description = "Data source of the replica in Athena; null without it."
  value       = one(aws_athena_data_catalog.replica[*].name)
}

output "athena_workgroup" {
  description = "Workgroup for queries of the replica; null without Athena."
  value       = one(aws_athena_workgroup.this[*].name)
}

output "reader_secret_name" {
  description = "Secret with user and password of the connector; null without Athena."
  value       = one(aws_secretsmanager_secret.reader[*].name)
}

output "redshift_workgroup" {
  description = "Workgroup of Redshift Serverless; null without zero-ETL."
  value       = one(aws_redshiftserverless_workgroup.this[*].workgroup_name)
}

output "integration_arn" {
  description = "The zero-ETL integration; null without it. Its database in Redshift is created by hand (README.md)."
  value       = one(aws_rds_integration.this[*].arn)
}
