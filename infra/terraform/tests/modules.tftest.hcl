# The modules check their own input, for those who use one without the rest.

variables {
  name        = "cd2"
  partition   = "aws"
  region      = "us-east-1"
  account_id  = "123456789012"
  kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  topic_arn   = "arn:aws:sns:us-east-1:123456789012:cd2"
  vpc_id      = "vpc-1"
}

run "network" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    cidr  = "10.0.0.0/28"
    zones = ["us-east-1a"]
  }

  expect_failures = [var.cidr, var.zones]
}

run "encryption" {
  command = plan

  module {
    source = "./modules/encryption"
  }

  variables {
    account_id              = "my-account"
    deletion_window_in_days = 1
  }

  expect_failures = [var.account_id, var.deletion_window_in_days]
}

run "storage" {
  command = plan

  module {
    source = "./modules/storage"
  }

  variables {
    bucket_name       = "My_Bucket"
    prefix            = "folder"
    package_directory = "tests/package"
    dags_directory    = "tests/package"
  }

  expect_failures = [var.bucket_name, var.prefix]
}

run "secrets" {
  command = plan

  module {
    source = "./modules/secrets"
  }

  variables {
    environment             = "production"
    create_database_secret  = false
    recovery_window_in_days = 3
  }

  expect_failures = [var.environment, var.recovery_window_in_days]
}

run "database" {
  command = plan

  module {
    source = "./modules/database"
  }

  variables {
    subnet_ids               = ["subnet-1"]
    client_security_group_id = "sg-1"
    engine_version           = "latest"
    database_name            = "template1"
    min_capacity             = 0.25
    max_capacity             = 4
    seconds_until_auto_pause = 60
    instances                = 0
    backup_retention_days    = 36
    deletion_protection      = true
    final_snapshot           = true
  }

  expect_failures = [
    var.subnet_ids,
    var.engine_version,
    var.database_name,
    var.min_capacity,
    var.seconds_until_auto_pause,
    var.instances,
    var.backup_retention_days,
  ]
}

run "notifications" {
  command = plan

  module {
    source = "./modules/notifications"
  }

  variables {
    publisher_role_arn = "arn:aws:iam::123456789012:role/cd2"
    emails             = ["nobody"]
  }

  expect_failures = [var.emails]
}

run "environment" {
  command = plan

  module {
    source = "./modules/environment"
  }

  variables {
    name                            = "1st"
    role_path                       = "airflow/"
    extra_security_group_ids        = ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5"]
    subnet_ids                      = ["subnet-1", "subnet-2", "subnet-3"]
    bucket_name                     = "cd2"
    dags_path                       = "dags"
    package                         = { plugins = { path = "plugins.zip", version = "1" } }
    dap_parameter_path              = "/dev/canvas_data_2"
    database_secret_arn             = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mine-AbCdEf"
    airflow_version                 = "Airflow 3"
    environment_class               = "mw1.small"
    min_workers                     = 1
    max_workers                     = 1
    webserver_access_mode           = "PUBLIC_ONLY"
    weekly_maintenance_window_start = "sunday"
  }

  expect_failures = [
    var.name,
    var.role_path,
    var.extra_security_group_ids,
    var.subnet_ids,
    var.package,
    var.airflow_version,
    var.weekly_maintenance_window_start,
  ]
}

run "monitoring" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    watch_database        = false
    hours_without_success = 48
    queue_age_seconds     = 0
    storage_gib           = 0
    hours_data_may_be_old = 1
    failed_tables_alarm   = 0
  }

  expect_failures = [
    var.hours_without_success,
    var.queue_age_seconds,
    var.storage_gib,
    var.hours_data_may_be_old,
    var.failed_tables_alarm,
  ]
}

run "a_network_in_beijing" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    region              = "cn-north-1"
    cidr                = "10.0.0.0/22"
    interface_endpoints = true
  }

  assert {
    condition = toset([for each in aws_vpc_endpoint.service : each.service_name]) == toset([
      "cn.com.amazonaws.cn-north-1.monitoring",
      "cn.com.amazonaws.cn-north-1.sqs",
      "com.amazonaws.cn-north-1.kms",
      "com.amazonaws.cn-north-1.logs",
      "com.amazonaws.cn-north-1.secretsmanager",
      "com.amazonaws.cn-north-1.sns",
      "com.amazonaws.cn-north-1.ssm",
    ])
    error_message = "In China the names of two of these services begin with cn."
  }

  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.cn-north-1.s3"
    error_message = "The gateway of S3 has no prefix."
  }
}

run "a_network_in_ningxia" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    region              = "cn-northwest-1"
    cidr                = "10.0.0.0/22"
    interface_endpoints = true
  }

  assert {
    condition = toset([for each in aws_vpc_endpoint.service : each.service_name]) == toset([
      "cn.com.amazonaws.cn-northwest-1.monitoring",
      "cn.com.amazonaws.cn-northwest-1.sqs",
      "com.amazonaws.cn-northwest-1.kms",
      "com.amazonaws.cn-northwest-1.logs",
      "com.amazonaws.cn-northwest-1.secretsmanager",
      "com.amazonaws.cn-northwest-1.sns",
      "com.amazonaws.cn-northwest-1.ssm",
    ])
    error_message = "In China the names of two of these services begin with cn."
  }

  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.cn-northwest-1.s3"
    error_message = "The gateway of S3 has no prefix."
  }
}

run "a_network_in_govcloud_west" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    region              = "us-gov-west-1"
    cidr                = "10.0.0.0/22"
    interface_endpoints = true
  }

  assert {
    condition = toset([for each in aws_vpc_endpoint.service : each.service_name]) == toset([
      "com.amazonaws.us-gov-west-1.airflow.api",
      "com.amazonaws.us-gov-west-1.airflow.env",
      "com.amazonaws.us-gov-west-1.kms",
      "com.amazonaws.us-gov-west-1.logs",
      "com.amazonaws.us-gov-west-1.monitoring",
      "com.amazonaws.us-gov-west-1.secretsmanager",
      "com.amazonaws.us-gov-west-1.sns",
      "com.amazonaws.us-gov-west-1.sqs",
      "com.amazonaws.us-gov-west-1.ssm",
    ])
    error_message = "GovCloud has all but airflow.ops."
  }

  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.us-gov-west-1.s3"
    error_message = "S3 has a gateway."
  }
}

run "a_network_in_govcloud_east" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    region              = "us-gov-east-1"
    cidr                = "10.0.0.0/22"
    interface_endpoints = true
  }

  assert {
    condition = toset([for each in aws_vpc_endpoint.service : each.service_name]) == toset([
      "com.amazonaws.us-gov-east-1.airflow.api",
      "com.amazonaws.us-gov-east-1.airflow.env",
      "com.amazonaws.us-gov-east-1.kms",
      "com.amazonaws.us-gov-east-1.logs",
      "com.amazonaws.us-gov-east-1.monitoring",
      "com.amazonaws.us-gov-east-1.secretsmanager",
      "com.amazonaws.us-gov-east-1.sns",
      "com.amazonaws.us-gov-east-1.sqs",
      "com.amazonaws.us-gov-east-1.ssm",
    ])
    error_message = "GovCloud has all but airflow.ops."
  }

  assert {
    condition     = aws_vpc_endpoint.s3.service_name == "com.amazonaws.us-gov-east-1.s3"
    error_message = "S3 has a gateway."
  }
}

run "endpoints_in_an_isolated_partition" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    region              = "us-iso-east-1"
    cidr                = "10.0.0.0/22"
    interface_endpoints = true
  }

  expect_failures = [var.interface_endpoints]
}

run "an_environment_in_china" {
  command = plan

  module {
    source = "./modules/environment"
  }

  variables {
    partition                       = "aws-cn"
    region                          = "cn-north-1"
    dns_suffix                      = "amazonaws.com.cn"
    subnet_ids                      = ["subnet-1", "subnet-2"]
    bucket_name                     = "bucket"
    dags_path                       = "dags"
    package                         = { for name in ["plugins", "requirements", "startup"] : name => { path = name, version = "1" } }
    dap_parameter_path              = "/dev/canvas_data_2"
    database_secret_arn             = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:mine-??????"
    airflow_version                 = "3.3.1"
    environment_class               = "mw1.small"
    min_workers                     = 1
    max_workers                     = 1
    webserver_access_mode           = "PUBLIC_ONLY"
    weekly_maintenance_window_start = "SUN:04:30"
  }

  assert {
    condition     = strcontains(aws_iam_role_policy.this[0].policy, "\"sqs.cn-north-1.amazonaws.com.cn\"")
    error_message = "The key is used through services of the partition."
  }

  assert {
    condition     = aws_iam_role.this[0].name_prefix == "cd2-"
    error_message = "No name of a role is used twice."
  }
}

run "a_key_in_china" {
  command = plan

  module {
    source = "./modules/encryption"
  }

  variables {
    partition  = "aws-cn"
    region     = "cn-north-1"
    dns_suffix = "amazonaws.com.cn"
  }

  assert {
    condition     = strcontains(aws_kms_key.this.policy, "\"logs.cn-north-1.amazonaws.com.cn\"")
    error_message = "CloudWatch's logs of the partition may use the key."
  }
}
