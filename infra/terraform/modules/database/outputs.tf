output "cluster_arn" {
  description = "ARN of the cluster."
  value       = aws_rds_cluster.this.arn

  # The Data API responds only once an instance exists.
  depends_on = [aws_rds_cluster_instance.this]
}

output "cluster_identifier" {
  description = "Identifier of the cluster, as in its metrics."
  value       = aws_rds_cluster.this.cluster_identifier
}

output "admin_secret_arn" {
  description = "Secret of the administrator, created and rotated by Aurora."
  value       = aws_rds_cluster.this.master_user_secret[0].secret_arn
}

output "database_name" {
  description = "Database of the replica."
  value       = aws_rds_cluster.this.database_name
}

output "endpoint" {
  description = "Host that clients connect to."
  value       = aws_rds_cluster.this.endpoint
}

output "port" {
  description = "Port that clients connect to."
  value       = local.port
}

output "security_group_id" {
  description = "Security group of the database: add a rule for each of your analysts' tools."
  value       = aws_security_group.this.id
}
