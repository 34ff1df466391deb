# One key for everything that rests: bucket, logs, MWAA's metadata, Aurora, secrets, topic.

resource "aws_kms_key" "this" {
  description             = "Canvas Data 2: ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Hands the decision to the account's IAM policies; without it nobody could manage the key.
        Sid       = "IamPoliciesOfTheAccount"
        Effect    = "Allow"
        Principal = { AWS = "arn:${var.partition}:iam::${var.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.${var.dns_suffix}" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = {
          ArnLike = {
            "kms:EncryptionContext:aws:logs:arn" = [
              "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:airflow-${var.name}-*",
              "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/aws/rds/cluster/${var.name}/*",
            ]
          }
        }
      },
      {
        # An alarm can publish to an encrypted topic only if CloudWatch may use its key, with these two actions:
        # docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services. SNS names the topic to KMS
        # as the encryption context of each call, under aws:sns:topicArn. AWS's own examples condition a key on it, also for a
        # service that publishes: docs.aws.amazon.com/sns/latest/dg/sns-enable-encryption-for-topic.html (Permissions for custom
        # KMS keys) and docs.aws.amazon.com/gamelift/latest/flexmatchguide/queue-notification-sns-sse.html.
        Sid       = "Alarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = {
          StringEquals = { "kms:EncryptionContext:aws:sns:topicArn" = "arn:${var.partition}:sns:${var.region}:${var.account_id}:${var.name}" }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}
