# The bucket that MWAA reads, and our code in it. What is set for a bucket is set only for the one that is made here.

locals {
  # Once it is there.
  bucket = var.create_bucket ? one(aws_s3_bucket.this[*].id) : var.bucket_name
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:it holds code that is in version control; CloudTrail records access
  #checkov:skip=CKV_AWS_144:it holds code that terraform apply uploads again anywhere
  #checkov:skip=CKV2_AWS_62:nobody acts on its events, MWAA looks for itself
  count         = var.create_bucket ? 1 : 0
  bucket        = var.bucket_name
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_versioning" "this" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.this[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.this[0].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  count                   = var.create_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.this[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.this[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.this[0].id

  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}

    # MWAA uses a pinned version for as long as the environment names it: keep the newest versions, whatever their age.
    noncurrent_version_expiration {
      noncurrent_days           = 90
      newer_noncurrent_versions = 10
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_policy" "tls_only" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.this[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyTls"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this[0].arn, "${aws_s3_bucket.this[0].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}

locals {
  # Caches and editors' leftovers stay here.
  dag_files = toset([
    for file in fileset(var.dags_directory, "**") : file
    if !strcontains("/${file}", "/__pycache__/") && !endswith(file, ".pyc") && (!strcontains("/${file}", "/.") || endswith(file, ".airflowignore"))
  ])
  package = {
    plugins      = "plugins.zip"
    requirements = "requirements.txt"
    startup      = "startup.sh"
  }
}

resource "aws_s3_object" "dag" {
  for_each = local.dag_files

  bucket      = local.bucket
  key         = "${var.prefix}dags/${each.key}"
  source      = "${var.dags_directory}/${each.key}"
  source_hash = filesha256("${var.dags_directory}/${each.key}")
  kms_key_id  = var.kms_key_arn

  # An object carries at most ten tags: the environment's own need not fit.
  override_provider {
    default_tags {
      tags = {}
    }
  }

  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

# A change of the file makes a new version of the object, and the environment names the version: that is what makes
# MWAA deploy it.
resource "aws_s3_object" "package" {
  for_each = local.package

  bucket      = local.bucket
  key         = "${var.prefix}${each.value}"
  source      = "${var.package_directory}/${each.value}"
  source_hash = filesha256("${var.package_directory}/${each.value}")
  kms_key_id  = var.kms_key_arn

  lifecycle {
    postcondition {
      condition     = coalesce(self.version_id, "null") != "null"
      error_message = "The bucket ${var.bucket_name} is not versioned: MWAA deploys versions of these files. Switch its versioning on."
    }
  }

  override_provider {
    default_tags {
      tags = {}
    }
  }

  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

# The bucket of a deployment of version 0.1.
moved {
  from = aws_s3_bucket.this
  to   = aws_s3_bucket.this[0]
}

moved {
  from = aws_s3_bucket_versioning.this
  to   = aws_s3_bucket_versioning.this[0]
}

moved {
  from = aws_s3_bucket_server_side_encryption_configuration.this
  to   = aws_s3_bucket_server_side_encryption_configuration.this[0]
}

moved {
  from = aws_s3_bucket_public_access_block.this
  to   = aws_s3_bucket_public_access_block.this[0]
}

moved {
  from = aws_s3_bucket_ownership_controls.this
  to   = aws_s3_bucket_ownership_controls.this[0]
}

moved {
  from = aws_s3_bucket_lifecycle_configuration.this
  to   = aws_s3_bucket_lifecycle_configuration.this[0]
}

moved {
  from = aws_s3_bucket_policy.tls_only
  to   = aws_s3_bucket_policy.tls_only[0]
}
