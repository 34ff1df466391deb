# What must not be in the state is handed over by write-only arguments: Terraform keeps only their version numbers.

locals {
  path        = "/${var.environment}/canvas_data_2"
  placeholder = "not-set-yet"
}

# Terraform does not look at the values again: a person may change them in the console or from a shell, and the next
# apply leaves that alone unless dap_key_version was raised.
resource "aws_ssm_parameter" "dap_client_id" {
  name             = "${local.path}/dap_client_id"
  description      = "Client id of the DAP key of Canvas Data 2"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = var.dap_client_id == null ? local.placeholder : var.dap_client_id
  value_wo_version = var.dap_key_version
}

resource "aws_ssm_parameter" "dap_client_secret" {
  name             = "${local.path}/dap_client_secret"
  description      = "Client secret of the DAP key of Canvas Data 2"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = var.dap_client_secret == null ? local.placeholder : var.dap_client_secret
  value_wo_version = var.dap_key_version
}

ephemeral "aws_secretsmanager_random_password" "replication" {
  count               = var.create_database_secret ? 1 : 0
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "replication" {
  #checkov:skip=CKV2_AWS_57:the password changes with replication_password_version and make deploy, which also changes it in the database; a rotation by Lambda would need one in the VPC
  count                   = var.create_database_secret ? 1 : 0
  name                    = "${var.environment}/canvas_data_2/database"
  description             = "The replication user of Canvas Data 2: host, port, dbname, username, password"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.recovery_window_in_days
}

# Terraform cannot see that the address in the secret is outdated: a new address writes a new version.
resource "terraform_data" "database" {
  count = var.create_database_secret ? 1 : 0
  input = var.database
}

resource "aws_secretsmanager_secret_version" "replication" {
  count     = var.create_database_secret ? 1 : 0
  secret_id = aws_secretsmanager_secret.replication[0].id

  secret_string_wo = jsonencode(merge(var.database, {
    password = ephemeral.aws_secretsmanager_random_password.replication[0].random_password
  }))
  secret_string_wo_version = var.password_version

  lifecycle {
    replace_triggered_by = [terraform_data.database]
  }
}
