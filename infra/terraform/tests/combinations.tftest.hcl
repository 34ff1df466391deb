# Which inputs can be combined. Only plans: `terraform test` with AWS's own provider must never create anything.
# tests/infra applies them without AWS, and checks the modules.

variables {
  environment       = "dev"
  package_directory = "tests/package"
}

run "a_network_of_its_own" {
  command = plan

  variables {
    create_network = true
  }

  assert {
    condition     = output.mwaa_environment_name == "canvas-data-2-dev"
    error_message = "The environment is named after name and environment."
  }

  assert {
    condition     = output.bucket_name == "canvas-data-2-dev-${data.aws_caller_identity.current.account_id}-${data.aws_region.current.region}"
    error_message = "Account and region make the bucket's name unique."
  }

  assert {
    condition     = tolist(output.dap_parameter_names) == tolist(["/dev/canvas_data_2/dap_client_id", "/dev/canvas_data_2/dap_client_secret"])
    error_message = "The DAG reads the DAP key at these paths."
  }

  assert {
    condition     = output.sns_topic_arn == "arn:aws:sns:${output.region}:${data.aws_caller_identity.current.account_id}:canvas-data-2-dev"
    error_message = "Without a topic of yours there is a new one."
  }

  assert {
    condition     = output.database_name == "cd2" && length(module.database) == 1
    error_message = "Without a database of yours there is a new one."
  }

  assert {
    condition     = length(module.network) == 1 && length(module.encryption) == 1
    error_message = "It has its own network and key."
  }

  assert {
    condition     = length(output.alarm_names) == 8
    error_message = "Four alarms for Airflow, two for the data, two for Aurora."
  }
}

run "endpoints_and_two_nat_gateways" {
  command = plan

  variables {
    create_network       = true
    interface_endpoints  = true
    nat_gateway_per_zone = true
    vpc_cidr             = "172.20.0.0/16"
  }
}

run "an_existing_network" {
  command = plan

  variables {
    vpc_id              = "vpc-1"
    private_subnet_ids  = ["subnet-1", "subnet-2"]
    database_subnet_ids = ["subnet-3", "subnet-4", "subnet-5"]
  }

  assert {
    condition     = length(module.network) == 0 && output.database_name == "cd2"
    error_message = "No network is made, a database is."
  }
}

run "an_existing_network_with_one_pair_of_subnets" {
  command = plan

  variables {
    vpc_id             = "vpc-1"
    private_subnet_ids = ["subnet-1", "subnet-2"]
  }

  assert {
    condition     = local.database_subnet_ids == tolist(["subnet-1", "subnet-2"])
    error_message = "The database goes into MWAA's subnets."
  }
}

run "a_database_of_your_own" {
  command = plan

  variables {
    vpc_id                     = "vpc-1"
    private_subnet_ids         = ["subnet-1", "subnet-2"]
    create_database            = false
    database_secret_arn        = "arn:aws:secretsmanager:us-east-1:123456789012:secret:warehouse-AbCdEf"
    database_security_group_id = "sg-0123456789abcdef0"
    database_port              = 6432
    other_kms_key_arns         = ["arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
  }

  assert {
    condition     = output.replication_secret_arn == var.database_secret_arn
    error_message = "The DAG reads your secret."
  }

  assert {
    condition     = output.database_cluster_arn == null && output.database_admin_secret_arn == null && output.database_name == null
    error_message = "No database is made."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.own_database[0].security_group_id == var.database_security_group_id
      && aws_vpc_security_group_ingress_rule.own_database[0].from_port == 6432
      && aws_vpc_security_group_ingress_rule.own_database[0].to_port == 6432
    )
    error_message = "Your database admits MWAA, only at its port."
  }

  assert {
    condition     = length(output.alarm_names) == 6
    error_message = "Your database is watched by you."
  }
}

run "a_database_elsewhere" {
  command = plan

  variables {
    create_network      = true
    create_database     = false
    database_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:warehouse-AbCdEf"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.own_database) == 0
    error_message = "Without a security group there is no rule."
  }
}

run "your_topic_and_key" {
  command = plan

  variables {
    create_network = true
    sns_topic_arn  = "arn:aws:sns:us-east-1:123456789012:operations"
    alert_emails   = ["it@university.example", "data@university.example"]
    kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = output.sns_topic_arn == var.sns_topic_arn && output.kms_key_arn == var.kms_key_arn
    error_message = "Yours are used."
  }

  assert {
    condition     = length(module.encryption) == 0
    error_message = "No key is made."
  }
}

run "production_with_everything" {
  command = plan

  variables {
    environment                     = "prod"
    name                            = "cd2"
    create_network                  = true
    airflow_version                 = "3.2.1"
    environment_class               = "mw1.large"
    min_workers                     = 2
    max_workers                     = 10
    webserver_access_mode           = "PUBLIC_AND_PRIVATE"
    webserver_client_cidrs          = ["10.20.0.0/16"]
    weekly_maintenance_window_start = "WED:23:00"
    settings                        = { namespaces = "canvas, catalog", max_active_tables = "20", skip_tables = "canvas.web_logs" }
    airflow_configuration_options   = { "core.max_map_length" = "2048" }
    database_engine_version         = "17.10"
    database_min_capacity           = 0.5
    database_max_capacity           = 64
    database_instances              = 2
    database_backup_retention_days  = 35
    permissions_boundary_arn        = "arn:aws:iam::123456789012:policy/boundary"
    tags                            = { CostCentre = "4711" }
    dap_client_id                   = "us-east-1#an-id"
    dap_client_secret               = "a-secret"
  }

  assert {
    condition     = output.log_group_prefix == "airflow-cd2-prod-"
    error_message = "The logs are named after the environment."
  }
}

run "a_role_and_security_groups_of_yours_in_the_smallest_class" {
  command = plan

  variables {
    create_network           = true
    availability_zones       = ["us-east-1b", "us-east-1d"]
    environment_class        = "mw1.micro"
    max_workers              = 1
    execution_role_arn       = "arn:aws:iam::123456789012:role/data/airflow"
    extra_security_group_ids = ["sg-0123456789abcdef0", "sg-0123456789abcdef1"]
  }

  assert {
    condition     = output.execution_role_arn == var.execution_role_arn
    error_message = "Your role is used."
  }
}

run "a_bucket_of_yours" {
  command = plan

  variables {
    create_network = true
    bucket_name    = "warehouse.university.example"
  }

  assert {
    condition     = output.bucket_name == var.bucket_name
    error_message = "Your bucket is used."
  }
}

run "settings_of_the_dag_that_follow_from_what_is_made" {
  command = plan

  variables {
    environment    = "stg"
    create_network = true
    settings       = { namespaces = "canvas" }
  }

  assert {
    condition = local.own_settings == {
      environment     = "stg"
      ssm_path        = "canvas_data_2"
      database_secret = "stg/canvas_data_2/database"
      sns_topic_arn   = "arn:aws:sns:${output.region}:${data.aws_caller_identity.current.account_id}:canvas-data-2-stg"

      dictionary_s3_uri = ""
    }
    error_message = "The DAG finds key, database and topic."
  }
}

run "a_key_by_its_alias" {
  command = plan

  variables {
    create_network = true
    kms_key_arn    = "alias/mine"
  }

  override_data {
    target = data.aws_kms_key.given[0]
    values = { arn = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  assert {
    condition     = output.kms_key_arn == "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    error_message = "Everything that needs the key gets its ARN."
  }

  assert {
    condition     = length(module.encryption) == 0
    error_message = "No key is made."
  }
}
