# Zero-ETL: AWS keeps tables of the replica in Redshift Serverless up to date, by logical replication.

locals {
  zero_etl_number = var.zero_etl ? 1 : 0
  namespace       = "${var.name}-analytics"
}

resource "aws_redshiftserverless_namespace" "this" {
  #checkov:skip=CKV_AWS_357:the audit of who queries what is the decision of the account
  count                            = local.zero_etl_number
  namespace_name                   = local.namespace
  kms_key_id                       = var.kms_key_arn
  manage_admin_password            = true
  admin_password_secret_kms_key_id = var.kms_key_arn
}

resource "aws_security_group" "warehouse" {
  count       = local.zero_etl_number
  name        = "${var.name}-redshift"
  description = "Canvas Data 2: Redshift; add a rule for each tool of your analysts"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-redshift" }
}

resource "aws_redshiftserverless_workgroup" "this" {
  count                = local.zero_etl_number
  namespace_name       = aws_redshiftserverless_namespace.this[0].namespace_name
  workgroup_name       = local.namespace
  base_capacity        = var.base_capacity
  subnet_ids           = var.subnet_ids
  security_group_ids   = [aws_security_group.warehouse[0].id]
  publicly_accessible  = false
  enhanced_vpc_routing = var.enhanced_vpc_routing

  # AWS refuses an integration without it: PostgreSQL's names may differ only in case.
  config_parameter {
    parameter_key   = "enable_case_sensitive_identifier"
    parameter_value = "true"
  }

  config_parameter {
    parameter_key   = "require_ssl"
    parameter_value = "true"
  }
}

# The namespace says which cluster may replicate into it.
resource "aws_redshift_resource_policy" "this" {
  count        = local.zero_etl_number
  resource_arn = aws_redshiftserverless_namespace.this[0].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "redshift.amazonaws.com" }
        Action    = "redshift:AuthorizeInboundIntegration"
        Resource  = aws_redshiftserverless_namespace.this[0].arn
        Condition = { StringEquals = { "aws:SourceArn" = var.database.cluster_arn } }
      },
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:${var.partition}:iam::${var.account_id}:root" }
        Action    = "redshift:CreateInboundIntegration"
        Resource  = aws_redshiftserverless_namespace.this[0].arn
      },
    ]
  })
}

resource "aws_rds_integration" "this" {
  count            = local.zero_etl_number
  integration_name = local.namespace
  source_arn       = var.database.cluster_arn
  target_arn       = aws_redshiftserverless_namespace.this[0].arn
  data_filter      = var.data_filter

  depends_on = [aws_redshift_resource_policy.this, aws_redshiftserverless_workgroup.this]

  lifecycle {
    precondition {
      condition     = var.data_filter != null
      error_message = "zero_etl needs data_filter: most tables of Canvas have enumerations, which zero-ETL does not take; a table with one fails. Name those that you need (README.md says how to find them)."
    }
  }
}
