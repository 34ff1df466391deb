"""The deployment: Terraform, database, role."""
