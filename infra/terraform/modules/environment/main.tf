# The MWAA environment, its security group and its logs.

locals {
  # Log group of each component, and its name in Terraform.
  logs = {
    DAGProcessing = "dag_processing_logs"
    Scheduler     = "scheduler_logs"
    Task          = "task_logs"
    WebServer     = "webserver_logs"
    Worker        = "worker_logs"
  }
}

resource "aws_security_group" "this" {
  name        = "${var.name}-environment"
  description = "Canvas Data 2: MWAA; traffic between its components"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-environment" }
}

resource "aws_vpc_security_group_ingress_rule" "self" {
  security_group_id            = aws_security_group.this.id
  description                  = "MWAA's components, among themselves"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.this.id
}

# The private side of the web server is an endpoint with this security group.
resource "aws_vpc_security_group_ingress_rule" "webserver" {
  for_each = var.webserver_client_cidrs

  security_group_id = aws_security_group.this.id
  description       = "Airflow's UI, for people in this network"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "all" {
  #checkov:skip=CKV_AWS_382:MWAA requires it: package index, Instructure and AWS have no fixed addresses
  security_group_id = aws_security_group.this.id
  description       = "Instructure, the package index, AWS and the database"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

# Otherwise MWAA would create them, without expiry, and leave them behind.
resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:how long logs are kept is an input
  for_each          = local.logs
  name              = "airflow-${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_mwaa_environment" "this" {
  #checkov:skip=CKV2_AWS_66:who reaches the UI is an input; IAM always requires a login
  name               = var.name
  airflow_version    = var.airflow_version
  environment_class  = var.environment_class
  min_workers        = var.min_workers
  max_workers        = var.max_workers
  execution_role_arn = local.role_arn
  kms_key            = var.kms_key_arn

  source_bucket_arn                = local.bucket_arn
  dag_s3_path                      = var.dags_path
  plugins_s3_path                  = var.package["plugins"].path
  plugins_s3_object_version        = var.package["plugins"].version
  requirements_s3_path             = var.package["requirements"].path
  requirements_s3_object_version   = var.package["requirements"].version
  startup_script_s3_path           = var.package["startup"].path
  startup_script_s3_object_version = var.package["startup"].version

  airflow_configuration_options   = var.airflow_configuration_options
  webserver_access_mode           = var.webserver_access_mode
  weekly_maintenance_window_start = var.weekly_maintenance_window_start

  network_configuration {
    security_group_ids = concat([aws_security_group.this.id], var.extra_security_group_ids)
    subnet_ids         = var.subnet_ids
  }

  logging_configuration {
    dag_processing_logs {
      enabled   = true
      log_level = var.log_level
    }

    scheduler_logs {
      enabled   = true
      log_level = var.log_level
    }

    task_logs {
      enabled   = true
      log_level = var.log_level
    }

    webserver_logs {
      enabled   = true
      log_level = var.log_level
    }

    worker_logs {
      enabled   = true
      log_level = var.log_level
    }
  }

  # Creation takes half an hour, and so does an update with new packages.
  timeouts {
    create = "120m"
    update = "120m"
    delete = "120m"
  }

  depends_on = [
    aws_iam_role_policy.this,
    aws_cloudwatch_log_group.this,
    aws_vpc_security_group_ingress_rule.self,
    aws_vpc_security_group_egress_rule.all,
  ]
}
