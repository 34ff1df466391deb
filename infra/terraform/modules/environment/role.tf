# The rights of the environment: first those that MWAA needs, then those that the DAG needs. Nothing else, and "*" only
# where AWS offers no narrower resource.

locals {
  environment_arn = "arn:${var.partition}:airflow:${var.region}:${var.account_id}:environment/${var.name}"
  bucket_arn      = "arn:${var.partition}:s3:::${var.bucket_name}"
  # The services that use the key on behalf of the role.
  key_users = ["sqs", "s3", "ssm", "secretsmanager", "sns"]

  for_mwaa = [
    {
      Sid      = "PublishMetrics"
      Effect   = "Allow"
      Action   = "airflow:PublishMetrics"
      Resource = local.environment_arn
    },
    {
      Sid      = "ReadBucket"
      Effect   = "Allow"
      Action   = ["s3:GetObject*", "s3:GetBucket*", "s3:List*"]
      Resource = [local.bucket_arn, "${local.bucket_arn}/${var.bucket_prefix}*"]
    },
    {
      # MWAA checks that the bucket is private. AWS offers no narrower resource for this action.
      Sid      = "SeePublicAccessBlock"
      Effect   = "Allow"
      Action   = "s3:GetAccountPublicAccessBlock"
      Resource = "*"
    },
    {
      # DescribeLogStreams is not in AWS's example. Without it the UI never shows what a trigger logged: MWAA's image looks
      # for those streams by their prefix (its CloudWatchRemoteTaskLogger), and passes over a refusal in silence.
      Sid    = "WriteAndReadLogs"
      Effect = "Allow"
      Action = [
        "logs:CreateLogStream",
        "logs:CreateLogGroup",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
        "logs:GetLogEvents",
        "logs:GetLogRecord",
        "logs:GetLogGroupFields",
        "logs:GetQueryResults",
      ]
      Resource = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:airflow-${var.name}-*"
    },
    {
      # As MWAA's documentation requires.
      Sid      = "ListLogGroups"
      Effect   = "Allow"
      Action   = "logs:DescribeLogGroups"
      Resource = "*"
    },
    {
      # MWAA's documentation requires it, for all namespaces; it publishes in AmazonMWAA. The other one is the DAG's.
      # CloudWatch offers no narrower resource for metrics.
      Sid       = "PutMetrics"
      Effect    = "Allow"
      Action    = "cloudwatch:PutMetricData"
      Resource  = "*"
      Condition = { StringEquals = { "cloudwatch:namespace" = compact(["AmazonMWAA", var.metrics_namespace]) } }
    },
    {
      # Celery's queue is in MWAA's own account.
      Sid    = "UseCeleryQueue"
      Effect = "Allow"
      Action = [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
      ]
      Resource = "arn:${var.partition}:sqs:${var.region}:*:airflow-celery-*"
    },
    {
      Sid       = "UseKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:Encrypt"]
      Resource  = var.kms_key_arn
      Condition = { StringEquals = { "kms:ViaService" = [for service in local.key_users : "${service}.${var.region}.${var.dns_suffix}"] } }
    },
  ]

  for_dag = [
    {
      Sid      = "ReadDapKey"
      Effect   = "Allow"
      Action   = ["ssm:GetParameter", "ssm:GetParameters"]
      Resource = "arn:${var.partition}:ssm:${var.region}:${var.account_id}:parameter${var.dap_parameter_path}/*"
    },
    {
      Sid      = "ReadDatabaseSecret"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
      Resource = var.database_secret_arn
    },
    {
      Sid      = "Notify"
      Effect   = "Allow"
      Action   = "sns:Publish"
      Resource = var.topic_arn
    },
  ]

  # concat() would convert all statements to one type, and fill the gaps with null.
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = flatten([local.for_mwaa, local.for_dag, local.for_dictionary, local.for_foreign_keys])
  })

  trust_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = ["airflow.amazonaws.com", "airflow-env.amazonaws.com"] }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnLike      = { "aws:SourceArn" = local.environment_arn }
      }
    }]
  })

  role_arn = var.role_arn == null ? one(aws_iam_role.this[*].arn) : var.role_arn

  for_dictionary = var.dictionary_s3_uri == "" ? [] : [{
    Sid      = "WriteDictionary"
    Effect   = "Allow"
    Action   = "s3:PutObject"
    Resource = "arn:${var.partition}:s3:::${trimprefix(var.dictionary_s3_uri, "s3://")}"
  }]

  for_foreign_keys = length(var.other_kms_key_arns) == 0 ? [] : [{
    Sid       = "UseKeysOfSecretAndTopic"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
    Resource  = var.other_kms_key_arns
    Condition = { StringEquals = { "kms:ViaService" = [for service in ["secretsmanager", "sns"] : "${service}.${var.region}.${var.dns_suffix}"] } }
  }]
}

# AWS advises against reusing the name of a deleted role: services may remember the old one for a while.
resource "aws_iam_role" "this" {
  name_prefix          = "${var.name}-"
  description          = "Canvas Data 2: what the MWAA environment ${var.name} may do"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = local.trust_policy

  path  = var.role_path
  count = var.role_arn == null ? 1 : 0

  # The environment has its new role before the old one goes.
  lifecycle {
    create_before_destroy = true
  }
}

moved {
  from = aws_iam_role.this
  to   = aws_iam_role.this[0]
}

moved {
  from = aws_iam_role_policy.this
  to   = aws_iam_role_policy.this[0]
}

resource "aws_iam_role_policy" "this" {
  #checkov:skip=CKV_AWS_355:AWS requires the two statements on * for an MWAA execution role; tests/infra checks that
  #checkov:skip=CKV_AWS_290:cloudwatch:PutMetricData has no narrower resource
  count  = var.role_arn == null ? 1 : 0
  name   = "execution"
  role   = aws_iam_role.this[0].name
  policy = local.policy

  lifecycle {
    create_before_destroy = true
  }
}
