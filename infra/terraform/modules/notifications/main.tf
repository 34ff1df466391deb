# The topic for the result of each run (from the DAG) and for alarms (from CloudWatch).

locals {
  # Written out instead of read off the topic, so that a plan shows all that depends on it.
  new_topic_arn = "arn:${var.partition}:sns:${var.region}:${var.account_id}:${one(aws_sns_topic.this[*].name) == null ? "" : one(aws_sns_topic.this[*].name)}"
  topic_arn     = var.topic_arn == null ? local.new_topic_arn : var.topic_arn
}

resource "aws_sns_topic" "this" {
  count             = var.topic_arn == null ? 1 : 0
  name              = var.name
  display_name      = "Canvas Data 2"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "this" {
  count = var.topic_arn == null ? 1 : 0
  arn   = aws_sns_topic.this[0].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Alarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = var.account_id }
          ArnLike      = { "aws:SourceArn" = "arn:${var.partition}:cloudwatch:${var.region}:${var.account_id}:alarm:${var.name}-*" }
        }
      },
      {
        Sid       = "Dag"
        Effect    = "Allow"
        Principal = { AWS = var.publisher_role_arn }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
      },
      {
        Sid       = "OnlyTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.emails

  topic_arn = local.topic_arn
  protocol  = "email"
  endpoint  = each.value
}
