# Bad input is rejected with a sentence, before anything is created. Each run has several mistakes, one for each variable
# that it expects to fail. tests/infra checks the sentences.

variables {
  environment       = "dev"
  package_directory = "tests/package"
  create_network    = true
}

run "names" {
  command = plan

  variables {
    environment           = "test"
    name                  = "Canvas_Data"
    tags                  = { "aws:owner" = "us" }
    replication_user_name = "cd2_admin"
    database_name         = "postgres"
  }

  expect_failures = [var.environment, var.name, var.tags, var.replication_user_name, var.database_name]
}

run "a_name_too_long_for_a_bucket" {
  command = plan

  variables {
    name = "a-name-of-twenty-five-char"
  }

  expect_failures = [var.name]
}

run "no_network" {
  command = plan

  variables {
    create_network = false
  }

  expect_failures = [var.create_network]
}

run "a_network_made_and_given" {
  command = plan

  variables {
    vpc_id             = "vpc-1"
    private_subnet_ids = ["subnet-1", "subnet-2"]
  }

  expect_failures = [var.create_network]
}

run "a_vpc_without_subnets" {
  command = plan

  variables {
    create_network = false
    vpc_id         = "vpc-1"
  }

  expect_failures = [var.create_network]
}

run "three_subnets_and_one_for_the_database" {
  command = plan

  variables {
    create_network      = false
    vpc_id              = "vpc-1"
    private_subnet_ids  = ["subnet-1", "subnet-2", "subnet-3"]
    database_subnet_ids = ["subnet-4"]
  }

  expect_failures = [var.private_subnet_ids, var.database_subnet_ids]
}

run "one_subnet" {
  command = plan

  variables {
    create_network     = false
    vpc_id             = "vpc-1"
    private_subnet_ids = ["subnet-1"]
  }

  expect_failures = [var.private_subnet_ids]
}

run "the_same_subnet_twice" {
  command = plan

  variables {
    create_network      = false
    vpc_id              = "vpc-1"
    private_subnet_ids  = ["subnet-1", "subnet-1"]
    database_subnet_ids = ["subnet-2", "subnet-2"]
  }

  expect_failures = [var.private_subnet_ids, var.database_subnet_ids]
}

run "a_network_too_small_and_files_that_are_not_there" {
  command = plan

  variables {
    vpc_cidr          = "10.0.0.0/24"
    package_directory = "tests/nowhere"
    dags_directory    = "tests/package"
  }

  expect_failures = [var.vpc_cidr, var.package_directory, var.dags_directory]
}

run "what_mwaa_does_not_know" {
  command = plan

  variables {
    vpc_cidr                        = "10.0.0.300/20"
    airflow_version                 = "2.11.2"
    environment_class               = "mw1.tiny"
    min_workers                     = 0
    weekly_maintenance_window_start = "SUN:04:15"
    log_level                       = "TRACE"
    log_retention_days              = 100
  }

  expect_failures = [
    var.vpc_cidr,
    var.airflow_version,
    var.environment_class,
    var.min_workers,
    var.weekly_maintenance_window_start,
    var.log_level,
    var.log_retention_days,
  ]
}

run "the_smallest_class_with_two_workers_and_a_role_without_a_place" {
  command = plan

  variables {
    environment_class        = "mw1.micro"
    max_workers              = 2
    permissions_boundary_arn = "boundary"
    execution_role_path      = "airflow"
    extra_security_group_ids = ["default"]
    availability_zones       = ["us-east-1a"]
  }

  expect_failures = [
    var.max_workers,
    var.permissions_boundary_arn,
    var.execution_role_path,
    var.extra_security_group_ids,
    var.availability_zones,
  ]
}

run "a_role_of_yours_with_what_belongs_to_a_new_one_and_zones_without_a_new_network" {
  command = plan

  variables {
    create_network      = false
    vpc_id              = "vpc-1"
    private_subnet_ids  = ["subnet-1", "subnet-2"]
    execution_role_arn  = "arn:aws:iam::123456789012:role/airflow"
    execution_role_path = "/airflow/"
    availability_zones  = ["us-east-1a", "us-east-1b"]
  }

  expect_failures = [var.execution_role_arn, var.availability_zones]
}

run "an_unknown_access_mode_and_too_many_workers" {
  command = plan

  variables {
    webserver_access_mode = "OPEN"
    max_workers           = 26
  }

  expect_failures = [var.webserver_access_mode, var.max_workers]
}

run "what_does_not_fit_together" {
  command = plan

  variables {
    min_workers                     = 3
    max_workers                     = 2
    webserver_access_mode           = "PUBLIC_AND_PRIVATE"
    webserver_client_cidrs          = ["10.20.0.0/16"]
    airflow_version                 = "3.0.6"
    weekly_maintenance_window_start = "04:00"
    database_min_capacity           = 8
    database_max_capacity           = 4
    dap_client_id                   = "an-id"
  }

  expect_failures = [
    var.max_workers,
    var.webserver_access_mode,
    var.weekly_maintenance_window_start,
    var.database_max_capacity,
    var.dap_client_id,
  ]
}

run "a_setting_that_is_misspelt_and_an_option_without_a_section" {
  command = plan

  variables {
    settings                        = { namespace = "canvas" }
    airflow_configuration_options   = { parallelism = "5" }
    weekly_maintenance_window_start = "SUN:24:00"
  }

  expect_failures = [var.settings, var.airflow_configuration_options, var.weekly_maintenance_window_start]
}

run "a_setting_that_terraform_makes_and_one_in_the_wrong_place" {
  command = plan

  variables {
    settings                      = { database_secret = "mine" }
    airflow_configuration_options = { "cd2.namespaces" = "canvas" }
  }

  expect_failures = [var.settings, var.airflow_configuration_options]
}

run "a_bucket_by_its_arn" {
  command = plan

  variables {
    bucket_name = "arn:aws:s3:::warehouse"
  }

  expect_failures = [var.bucket_name]
}

run "a_bucket_of_yours_to_be_destroyed" {
  command = plan

  variables {
    bucket_name          = "warehouse"
    bucket_force_destroy = true
  }

  expect_failures = [var.bucket_name]
}

run "metrics_among_those_of_aws" {
  command = plan

  variables {
    settings = { metrics_namespace = "AWS/Canvas" }
  }

  expect_failures = [var.settings]
}

run "an_unknown_namespace_and_an_option_that_mwaa_refuses" {
  command = plan

  variables {
    settings                      = { namespaces = "canvas,blackboard" }
    airflow_configuration_options = { "core.executor" = "LocalExecutor" }
  }

  expect_failures = [var.settings, var.airflow_configuration_options]
}

run "a_pace_of_nothing_and_an_empty_client_secret" {
  command = plan

  variables {
    settings          = { job_creations_per_minute = "0" }
    dap_client_id     = "an-id"
    dap_client_secret = ""
  }

  expect_failures = [var.settings, var.dap_client_secret]
}

run "an_empty_client_id" {
  command = plan

  variables {
    dap_client_id     = " "
    dap_client_secret = "a-secret"
  }

  expect_failures = [var.dap_client_id]
}

run "your_database_without_its_secret" {
  command = plan

  variables {
    create_database = false
  }

  expect_failures = [var.create_database]
}

run "your_database_with_a_security_group_but_without_its_secret" {
  command = plan

  variables {
    create_database            = false
    database_security_group_id = "sg-0123456789abcdef0"
  }

  expect_failures = [var.create_database]
}

run "a_database_made_and_given" {
  command = plan

  variables {
    database_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mine-AbCdEf"
  }

  expect_failures = [var.create_database]
}

run "names_where_arns_and_ids_are_wanted" {
  command = plan

  variables {
    create_database            = false
    database_secret_arn        = "warehouse"
    database_security_group_id = "warehouse"
    database_port              = 70000
    kms_key_arn                = "mine"
    other_kms_key_arns         = ["alias/mine"]
    sns_topic_arn              = "operations"
    dictionary_s3_uri          = "s3://reports/"
    execution_role_arn         = "airflow-execution"
    alert_emails               = ["it at university.example"]
  }

  expect_failures = [
    var.database_secret_arn,
    var.database_security_group_id,
    var.database_port,
    var.kms_key_arn,
    var.other_kms_key_arns,
    var.sns_topic_arn,
    var.dictionary_s3_uri,
    var.execution_role_arn,
    var.alert_emails,
  ]
}

run "every_secret_of_the_account" {
  command = plan

  variables {
    create_database     = false
    database_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:*"
  }

  expect_failures = [var.database_secret_arn]
}

run "what_aurora_does_not_know" {
  command = plan

  variables {
    database_engine_version           = "13.20"
    database_seconds_until_auto_pause = 60
    database_instances                = 0
    database_backup_retention_days    = 0
    secret_recovery_days              = 1
  }

  expect_failures = [
    var.database_engine_version,
    var.database_seconds_until_auto_pause,
    var.database_instances,
    var.database_backup_retention_days,
    var.secret_recovery_days,
  ]
}

run "logical_replication_of_a_database_that_should_pause" {
  command = plan

  variables {
    database_min_capacity        = 0
    database_logical_replication = true
  }

  expect_failures = [var.database_logical_replication]
}

run "alarms_without_sense_and_more_capacity_than_there_is" {
  command = plan

  variables {
    database_max_capacity      = 512
    hours_without_success      = 3
    hours_data_may_be_old      = 3
    failed_tables_alarm        = 0.5
    queue_age_seconds          = 400
    database_storage_alarm_gib = 0
  }

  expect_failures = [
    var.database_max_capacity,
    var.hours_without_success,
    var.hours_data_may_be_old,
    var.failed_tables_alarm,
    var.queue_age_seconds,
    var.database_storage_alarm_gib,
  ]
}

run "values_that_mwaa_refuses" {
  command = plan

  variables {
    settings                      = { skip_tables = "prüfungen" }
    airflow_configuration_options = { "core.dag_ignore_file_syntax" = "" }
    # Multi-region.
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/mrk-1111111122223333444455555555abcd"
  }

  expect_failures = [var.settings, var.airflow_configuration_options, var.kms_key_arn]
}

run "a_web_server_that_could_not_install_anything" {
  command = plan

  variables {
    webserver_access_mode = "PRIVATE_ONLY"
  }

  expect_failures = [var.webserver_access_mode]
}

run "a_private_side_that_lets_nobody_in" {
  command = plan

  variables {
    webserver_access_mode = "PUBLIC_AND_PRIVATE"
  }

  expect_failures = [var.webserver_client_cidrs]
}

run "a_private_side_for_everybody" {
  command = plan

  variables {
    webserver_access_mode  = "PUBLIC_AND_PRIVATE"
    webserver_client_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.webserver_client_cidrs]
}

run "a_private_side_for_the_network_of_an_address" {
  command = plan

  variables {
    webserver_access_mode  = "PUBLIC_AND_PRIVATE"
    webserver_client_cidrs = ["10.20.0.0/16", "10.30.1.7/16"]
  }

  expect_failures = [var.webserver_client_cidrs]
}

run "a_private_side_by_ipv6" {
  command = plan

  variables {
    webserver_access_mode  = "PUBLIC_AND_PRIVATE"
    webserver_client_cidrs = ["fd00:20::/32"]
  }

  expect_failures = [var.webserver_client_cidrs]
}

run "ids_of_something_else" {
  command = plan

  variables {
    create_network      = false
    vpc_id              = ""
    private_subnet_ids  = ["subnet-1", ""]
    database_subnet_ids = ["subnet-1", "arn:aws:ec2:eu-central-1:123456789012:subnet/subnet-2"]
  }

  expect_failures = [var.vpc_id, var.private_subnet_ids, var.database_subnet_ids]
}

run "what_only_aws_would_refuse" {
  command = plan

  variables {
    region                  = ""
    tags                    = { team = "data <it>" }
    vpc_cidr                = "10.42.1.7/22"
    bucket_name             = "192.168.0.1"
    database_engine_version = "16.2"
    database_min_capacity   = 0
  }

  expect_failures = [var.region, var.tags, var.vpc_cidr, var.bucket_name, var.database_min_capacity]
}

run "a_network_of_ipv6_and_a_tag_without_a_name" {
  command = plan

  variables {
    vpc_cidr = "fd00::/20"
    tags     = { "" = "data" }
  }

  expect_failures = [var.vpc_cidr, var.tags]
}

run "a_capacity_that_aurora_does_not_have" {
  command = plan

  variables {
    database_min_capacity = 0.3
  }

  expect_failures = [var.database_min_capacity]
}
