# Aurora PostgreSQL Serverless v2: only MWAA reaches it over the network, scripts/prepare_database through the Data API.

locals {
  port   = 5432
  family = "aurora-postgresql${split(".", var.engine_version)[0]}"
}

resource "aws_db_subnet_group" "this" {
  name        = var.name
  description = "Canvas Data 2: where the database may be"
  subnet_ids  = var.subnet_ids
}

resource "aws_security_group" "this" {
  name        = "${var.name}-database"
  description = "Canvas Data 2: the database; only MWAA may connect"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-database" }
}

resource "aws_vpc_security_group_ingress_rule" "environment" {
  security_group_id            = aws_security_group.this.id
  description                  = "PostgreSQL from MWAA"
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = var.client_security_group_id
}

resource "aws_rds_cluster_parameter_group" "this" {
  name        = "${var.name}-${local.family}"
  description = "Canvas Data 2: TLS only; DDL and slow statements are logged"
  family      = local.family

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  # Otherwise CONTEXT and DETAIL quote values of rows, and the log goes to CloudWatch.
  parameter {
    name  = "log_error_verbosity"
    value = "terse"
  }

  # Milliseconds. The load of a large table takes minutes, and should show up.
  parameter {
    name  = "log_min_duration_statement"
    value = "60000"
  }

  # What zero-ETL to Redshift needs, as AWS names it; static, so they take effect when the instances start again.
  dynamic "parameter" {
    for_each = var.logical_replication ? {
      "rds.logical_replication"             = "1"
      "aurora.enhanced_logical_replication" = "1"
      "aurora.logical_replication_backup"   = "0"
      "aurora.logical_replication_globaldb" = "0"
    } : {}

    content {
      name         = parameter.key
      value        = parameter.value
      apply_method = "pending-reboot"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# Otherwise Aurora would create it, unencrypted and without expiry.
resource "aws_cloudwatch_log_group" "postgresql" {
  #checkov:skip=CKV_AWS_338:how long logs are kept is an input
  name              = "/aws/rds/cluster/${var.name}/postgresql"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# A snapshot's name can be used only once: each life of a cluster has its own, from the time when it was first planned.
resource "terraform_data" "life" {
  input = formatdate("YYYYMMDDhhmmss", plantimestamp())

  lifecycle {
    ignore_changes = [input]
  }
}

resource "aws_rds_cluster" "this" {
  #checkov:skip=CKV_AWS_139:deletion protection is an input: on in prod
  #checkov:skip=CKV_AWS_162:the replication user has a password, from its secret; IAM tokens would need one more right
  #checkov:skip=CKV2_AWS_8:Aurora makes its own backups and keeps them for backup_retention_days
  cluster_identifier = var.name
  engine             = "aurora-postgresql"
  engine_mode        = "provisioned"
  engine_version     = var.engine_version
  # A new major version has its own parameter group, which goes along in the same call. Instances follow the cluster.
  allow_major_version_upgrade = var.allow_major_version_upgrade
  database_name               = var.database_name
  port                        = local.port

  master_username               = "cd2_admin"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.kms_key_arn
  enable_http_endpoint          = true

  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.this.name

  storage_encrypted               = true
  storage_type                    = var.io_optimized ? "aurora-iopt1" : "aurora" # null would keep what is there
  kms_key_id                      = var.kms_key_arn
  backup_retention_period         = var.backup_retention_days
  preferred_backup_window         = "07:00-08:00"
  preferred_maintenance_window    = "sun:08:30-sun:09:30"
  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  skip_final_snapshot             = !var.final_snapshot
  final_snapshot_identifier       = var.final_snapshot ? "${var.name}-final-${terraform_data.life.input}" : null
  enabled_cloudwatch_logs_exports = ["postgresql"]
  apply_immediately               = true

  serverlessv2_scaling_configuration {
    min_capacity             = var.min_capacity
    max_capacity             = var.max_capacity
    seconds_until_auto_pause = var.min_capacity == 0 ? var.seconds_until_auto_pause : null
  }

  depends_on = [aws_cloudwatch_log_group.postgresql]
}

resource "aws_rds_cluster_instance" "this" {
  #checkov:skip=CKV_AWS_118:the metrics of Serverless v2 and Performance Insights are enough; enhanced monitoring needs its own role
  #checkov:skip=CKV_AWS_353:Performance Insights is an input, on by default
  #checkov:skip=CKV_AWS_226:the version is an input: an upgrade by AWS would contradict it, and the next apply would fail
  count                           = var.instances
  identifier                      = "${var.name}-${count.index}"
  cluster_identifier              = aws_rds_cluster.this.id
  engine                          = aws_rds_cluster.this.engine
  engine_version                  = aws_rds_cluster.this.engine_version
  instance_class                  = "db.serverless"
  db_subnet_group_name            = aws_db_subnet_group.this.name
  publicly_accessible             = false
  auto_minor_version_upgrade      = false
  ca_cert_identifier              = "rds-ca-rsa2048-g1"
  copy_tags_to_snapshot           = true
  performance_insights_enabled    = var.performance_insights
  performance_insights_kms_key_id = var.performance_insights ? var.kms_key_arn : null
  apply_immediately               = true
}
