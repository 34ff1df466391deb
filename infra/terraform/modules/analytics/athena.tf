# Athena reads the replica through AWS's connector, a function in the VPC. Nothing is copied but the results of queries.

locals {
  bucket_name = "${var.name}-athena-${var.account_id}-${var.region}"
  bucket_arn  = "arn:${var.partition}:s3:::${local.bucket_name}"
  # The connector takes it as the name of a catalog: lower case, digits and underscores.
  function      = "${replace(var.name, "-", "_")}_replica"
  function_arn  = "arn:${var.partition}:lambda:${var.region}:${var.account_id}:function:${local.function}"
  secret_name   = "${var.name}/athena"
  uses_of_key   = ["secretsmanager", "s3"]
  athena_number = var.athena ? 1 : 0
  # AWS publishes it in us-east-1 for all regions of the partition.
  connector = "arn:${var.partition}:serverlessrepo:us-east-1:292517598671:applications/AthenaPostgreSQLConnector"

  connector_rights = [
    {
      Sid      = "Secret"
      Effect   = "Allow"
      Action   = "secretsmanager:GetSecretValue"
      Resource = "arn:${var.partition}:secretsmanager:${var.region}:${var.account_id}:secret:${local.secret_name}-??????"
    },
    {
      # Results that do not fit into an answer of the function.
      Sid      = "Spill"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:GetBucketLocation"]
      Resource = [local.bucket_arn, "${local.bucket_arn}/spill/*"]
    },
    {
      # Older versions of the connector look in this list whether the bucket is of its account, newer ones ask for the bucket.
      Sid      = "SpillIsOurs"
      Effect   = "Allow"
      Action   = "s3:ListAllMyBuckets"
      Resource = "*"
    },
    {
      Sid      = "Logs"
      Effect   = "Allow"
      Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/aws/lambda/${local.function}*"
    },
    {
      Sid      = "StopWithTheQuery"
      Effect   = "Allow"
      Action   = "athena:GetQueryExecution"
      Resource = "arn:${var.partition}:athena:${var.region}:${var.account_id}:workgroup/*"
    },
    {
      # Those of AWS's AWSLambdaVPCAccessExecutionRole; AWS offers no narrower resource for a function's network interfaces.
      Sid    = "Network"
      Effect = "Allow"
      Action = [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
      ]
      Resource = "*"
    },
    {
      Sid       = "Key"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
      Resource  = var.kms_key_arn
      Condition = { StringEquals = { "kms:ViaService" = [for service in local.uses_of_key : "${service}.${var.region}.${var.dns_suffix}"] } }
    },
  ]
}

resource "aws_s3_bucket" "athena" {
  #checkov:skip=CKV_AWS_18:results of queries, deleted after a day; who asks what is in Athena's own history
  #checkov:skip=CKV_AWS_21:results of queries need no earlier versions
  #checkov:skip=CKV_AWS_144:results of queries need no copy in another region
  #checkov:skip=CKV2_AWS_62:nobody waits for events of this bucket
  count         = local.athena_number
  bucket        = local.bucket_name
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "athena" {
  count                   = local.athena_number
  bucket                  = aws_s3_bucket.athena[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "athena" {
  count  = local.athena_number
  bucket = aws_s3_bucket.athena[0].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "athena" {
  count  = local.athena_number
  bucket = aws_s3_bucket.athena[0].id

  rule {
    id     = "results"
    status = "Enabled"

    filter {}

    expiration {
      days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

ephemeral "aws_secretsmanager_random_password" "reader" {
  count               = local.athena_number
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "reader" {
  #checkov:skip=CKV2_AWS_57:whoever creates the user of the database sets its password; a rotation would need a function in the VPC
  count                   = local.athena_number
  name                    = local.secret_name
  description             = "Canvas Data 2: the user that Athena's connector logs in as"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "reader" {
  count     = local.athena_number
  secret_id = aws_secretsmanager_secret.reader[0].id

  secret_string_wo = jsonencode({
    username = var.reader
    password = ephemeral.aws_secretsmanager_random_password.reader[0].random_password
  })
  secret_string_wo_version = 1
}

resource "aws_security_group" "connector" {
  #checkov:skip=CKV2_AWS_5:the connector uses it, which the stack of its application makes
  count       = local.athena_number
  name        = "${var.name}-athena"
  description = "Canvas Data 2: Athena's connector; to the database and AWS"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-athena" }
}

resource "aws_vpc_security_group_egress_rule" "connector" {
  #checkov:skip=CKV_AWS_382:the addresses of Athena, S3 and Secrets Manager are not fixed
  count             = local.athena_number
  security_group_id = aws_security_group.connector[0].id
  description       = "The database, and AWS's services"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  count                        = local.athena_number
  security_group_id            = var.database.security_group_id
  description                  = "PostgreSQL from Athena's connector"
  ip_protocol                  = "tcp"
  from_port                    = var.database.port
  to_port                      = var.database.port
  referenced_security_group_id = aws_security_group.connector[0].id
}

resource "aws_iam_role" "connector" {
  count                = local.athena_number
  name_prefix          = "${var.name}-athena-"
  description          = "Canvas Data 2: what Athena's connector may do"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "connector" {
  #checkov:skip=CKV_AWS_355:AWS knows no narrower resource for network interfaces of functions
  #checkov:skip=CKV_AWS_290:creating and deleting network interfaces has no narrower resource
  count  = local.athena_number
  name   = "connector"
  role   = aws_iam_role.connector[0].name
  policy = jsonencode({ Version = "2012-10-17", Statement = flatten([local.connector_rights]) })
}

resource "aws_serverlessapplicationrepository_cloudformation_stack" "connector" {
  count            = local.athena_number
  name             = "${var.name}-athena"
  application_id   = local.connector
  semantic_version = var.connector_version
  capabilities     = ["CAPABILITY_IAM", "CAPABILITY_RESOURCE_POLICY"]

  parameters = {
    LambdaFunctionName = local.function
    # The connector puts user and password of the secret in the place of its name. TLS, as the database demands.
    DefaultConnectionString = "postgres://jdbc:postgresql://${var.database.host}:${var.database.port}/${var.database.name}?sslmode=require&$${${local.secret_name}}"
    SecretNamePrefix        = local.secret_name
    SpillBucket             = aws_s3_bucket.athena[0].bucket
    SpillPrefix             = "spill"
    DisableSpillEncryption  = "false"
    LambdaRoleARN           = aws_iam_role.connector[0].arn
    LambdaTimeout           = "900"
    LambdaMemory            = "3008"
    SecurityGroupIds        = aws_security_group.connector[0].id
    SubnetIds               = join(",", var.subnet_ids)
  }

  depends_on = [aws_iam_role_policy.connector, aws_secretsmanager_secret_version.reader]
}

resource "aws_athena_data_catalog" "replica" {
  count       = local.athena_number
  name        = local.function
  description = "Canvas Data 2: the replica, by the connector for PostgreSQL"
  type        = "LAMBDA"
  parameters  = { function = local.function_arn }

  depends_on = [aws_serverlessapplicationrepository_cloudformation_stack.connector]
}

resource "aws_athena_workgroup" "this" {
  count         = local.athena_number
  name          = var.name
  description   = "Canvas Data 2: queries of the replica"
  force_destroy = var.force_destroy

  configuration {
    enforce_workgroup_configuration = true

    result_configuration {
      output_location = "s3://${aws_s3_bucket.athena[0].bucket}/results/"

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}
