output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "The two subnets for MWAA, once they have their way out: an environment made before that cannot install its packages."
  value       = aws_subnet.private[*].id

  depends_on = [aws_route.nat, aws_route_table_association.private, aws_vpc_endpoint.s3, aws_vpc_endpoint.service]
}

output "database_subnet_ids" {
  description = "The two subnets for the database."
  value       = aws_subnet.database[*].id
}
