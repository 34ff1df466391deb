data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

# Policies name a key by its ARN.
data "aws_kms_key" "given" {
  count  = local.key_is_named ? 1 : 0
  key_id = trimprefix(var.kms_key_arn, "key/")
}

locals {
  name       = "${var.name}-${var.environment}"
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.region
  production = var.environment == "prod"

  # An id or an alias, not the ARN of a key.
  key_is_named = var.kms_key_arn == null ? false : !can(regex("^arn:.*:key/", var.kms_key_arn))

  tags = merge({ Project = var.name, Environment = var.environment }, var.tags)

  # Settings of the section [cd2] that may be chosen freely; tests/infra holds the names against plugins/cd2/settings.py.
  free_settings = [
    "append_only_tables",
    "aws_conn_id",
    "dap_base_url",
    "dap_conn_id",
    "database_sslmode",
    "database_sslrootcert",
    "high_severity_tables",
    "include_tables",
    "job_creations_per_minute",
    "max_active_tables",
    "max_shrink",
    "metrics_namespace",
    "namespaces",
    "notification_format",
    "postgres_conn_id",
    "quiet_hours",
    "skip_tables",
    "verify_tables_per_day",
    "volume_alerts",
  ]
  default_settings = { metrics_namespace = "CanvasData2/${var.environment}" }
  # Of the DAG's own metrics; empty: it puts none.
  metrics_namespace = trimspace(lookup(var.settings, "metrics_namespace", local.default_settings.metrics_namespace))
  namespaces        = distinct([for name in split(",", lookup(var.settings, "namespaces", "canvas")) : trimspace(name)])
  # Settings that must agree with what is made here.
  own_settings = {
    environment     = var.environment
    ssm_path        = trimprefix(module.secrets.dap_parameter_path, "/${var.environment}/")
    database_secret = var.create_database ? module.secrets.replication_secret_name : var.database_secret_arn
    sns_topic_arn   = module.notifications.topic_arn
    # The role may write there.
    dictionary_s3_uri = var.dictionary_s3_uri
  }
  # Every table of a run waits in a triggerer. MWAA runs one beside each scheduler; any of them must have room for all
  # tables, because the others may be gone. By default it has less: 60 places on mw1.small.
  most_tables = { canvas = 120, canvas_logs = 5, catalog = 20, new_quizzes = 20 }
  triggers    = sum(concat([10], [for name in local.namespaces : lookup(local.most_tables, name, 0)]))

  # docs/configuration.md says why.
  airflow_options = {
    "core.lazy_load_plugins"         = "False"
    "core.load_examples"             = "False"
    "core.max_map_length"            = "1024"
    "triggerer.capacity"             = tostring(local.triggers)
    "workers.min_heartbeat_interval" = "1"
  }

  # In a bucket of others, our files are in a folder: theirs may have the same names.
  bucket_name   = var.bucket_name == null ? "${local.name}-${local.account_id}-${local.region}" : var.bucket_name
  bucket_prefix = var.bucket_name == null ? "" : "${local.name}/"

  kms_key_arn         = var.kms_key_arn == null ? one(module.encryption[*].key_arn) : local.key_is_named ? one(data.aws_kms_key.given[*].arn) : var.kms_key_arn
  vpc_id              = var.create_network ? one(module.network[*].vpc_id) : var.vpc_id
  private_subnet_ids  = var.create_network ? one(module.network[*].private_subnet_ids) : var.private_subnet_ids
  database_subnet_ids = var.create_network ? one(module.network[*].database_subnet_ids) : length(var.database_subnet_ids) > 0 ? var.database_subnet_ids : var.private_subnet_ids
}

module "network" {
  source = "./modules/network"
  count  = var.create_network ? 1 : 0

  name                 = local.name
  region               = local.region
  cidr                 = var.vpc_cidr
  zones                = var.availability_zones
  nat_gateway_per_zone = var.nat_gateway_per_zone
  interface_endpoints  = var.interface_endpoints
}

module "encryption" {
  source = "./modules/encryption"
  count  = var.kms_key_arn == null ? 1 : 0

  name                    = local.name
  partition               = local.partition
  region                  = local.region
  dns_suffix              = data.aws_partition.current.dns_suffix
  account_id              = local.account_id
  deletion_window_in_days = local.production ? 30 : 7
}

module "storage" {
  source = "./modules/storage"

  bucket_name       = local.bucket_name
  create_bucket     = var.bucket_name == null
  prefix            = local.bucket_prefix
  kms_key_arn       = local.kms_key_arn
  package_directory = var.package_directory
  dags_directory    = var.dags_directory
  force_destroy     = coalesce(var.bucket_force_destroy, !local.production)
}

module "secrets" {
  source = "./modules/secrets"

  environment             = var.environment
  kms_key_arn             = local.kms_key_arn
  dap_client_id           = var.dap_client_id
  dap_client_secret       = var.dap_client_secret
  dap_key_version         = var.dap_key_version
  create_database_secret  = var.create_database
  password_version        = var.replication_password_version
  recovery_window_in_days = coalesce(var.secret_recovery_days, local.production ? 30 : 0)

  database = var.create_database ? {
    host     = module.database[0].endpoint
    port     = module.database[0].port
    dbname   = var.database_name
    username = var.replication_user_name
  } : null
}

module "database" {
  source = "./modules/database"
  count  = var.create_database ? 1 : 0

  name                     = local.name
  vpc_id                   = local.vpc_id
  subnet_ids               = local.database_subnet_ids
  client_security_group_id = module.environment.security_group_id
  kms_key_arn              = local.kms_key_arn
  engine_version           = var.database_engine_version
  io_optimized             = var.database_io_optimized
  performance_insights     = var.database_performance_insights
  database_name            = var.database_name
  min_capacity             = var.database_min_capacity
  max_capacity             = var.database_max_capacity
  seconds_until_auto_pause = var.database_seconds_until_auto_pause
  instances                = var.database_instances
  backup_retention_days    = var.database_backup_retention_days
  deletion_protection      = coalesce(var.database_deletion_protection, local.production)
  final_snapshot           = coalesce(var.database_final_snapshot, local.production)

  allow_major_version_upgrade = var.database_allow_major_version_upgrade
  logical_replication         = var.database_logical_replication
  log_retention_days          = var.log_retention_days
}

resource "aws_vpc_security_group_ingress_rule" "own_database" {
  count = !var.create_database && var.database_security_group_id != null ? 1 : 0

  security_group_id            = var.database_security_group_id
  description                  = "Canvas Data 2: PostgreSQL from the MWAA environment ${local.name}"
  ip_protocol                  = "tcp"
  from_port                    = var.database_port
  to_port                      = var.database_port
  referenced_security_group_id = module.environment.security_group_id
}

module "notifications" {
  source = "./modules/notifications"

  name               = local.name
  partition          = local.partition
  region             = local.region
  account_id         = local.account_id
  topic_arn          = var.sns_topic_arn
  kms_key_arn        = local.kms_key_arn
  publisher_role_arn = module.environment.role_arn
  emails             = var.alert_emails
}

module "environment" {
  source = "./modules/environment"

  name                     = local.name
  partition                = local.partition
  region                   = local.region
  dns_suffix               = data.aws_partition.current.dns_suffix
  account_id               = local.account_id
  vpc_id                   = local.vpc_id
  subnet_ids               = local.private_subnet_ids
  kms_key_arn              = local.kms_key_arn
  other_kms_key_arns       = var.other_kms_key_arns
  permissions_boundary_arn = var.permissions_boundary_arn
  role_path                = var.execution_role_path
  role_arn                 = var.execution_role_arn
  extra_security_group_ids = var.extra_security_group_ids

  bucket_name   = module.storage.bucket_name
  bucket_prefix = local.bucket_prefix
  dags_path     = module.storage.dags_path
  package       = module.storage.package

  dap_parameter_path = module.secrets.dap_parameter_path
  topic_arn          = module.notifications.topic_arn
  metrics_namespace  = local.metrics_namespace
  dictionary_s3_uri  = var.dictionary_s3_uri
  # AWS adds six characters of its own to the name of a secret.
  database_secret_arn = (
    var.create_database
    ? "arn:${local.partition}:secretsmanager:${local.region}:${local.account_id}:secret:${module.secrets.replication_secret_name}-??????"
    : var.database_secret_arn
  )

  airflow_version   = var.airflow_version
  environment_class = var.environment_class
  min_workers       = var.min_workers
  max_workers       = var.max_workers
  airflow_configuration_options = merge(
    local.airflow_options,
    var.airflow_configuration_options,
    # MWAA takes no empty values; for ours they mean the default.
    { for key, value in merge(local.default_settings, var.settings, local.own_settings) : "cd2.${key}" => value if trimspace(value) != "" },
  )
  webserver_access_mode           = var.webserver_access_mode
  webserver_client_cidrs          = var.webserver_client_cidrs
  weekly_maintenance_window_start = var.weekly_maintenance_window_start
  log_level                       = var.log_level
  log_retention_days              = var.log_retention_days
}

module "monitoring" {
  source = "./modules/monitoring"

  name                  = local.name
  region                = local.region
  topic_arn             = module.notifications.topic_arn
  hours_without_success = var.hours_without_success
  queue_age_seconds     = var.queue_age_seconds
  metrics_namespace     = local.metrics_namespace
  metrics_environment   = var.environment
  data_namespaces       = local.namespaces
  hours_data_may_be_old = var.hours_data_may_be_old
  failed_tables_alarm   = var.failed_tables_alarm
  watch_database        = var.create_database
  cluster_identifier    = one(module.database[*].cluster_identifier)
  storage_gib           = var.database_storage_alarm_gib
}
