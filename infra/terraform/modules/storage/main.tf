# The bucket that MWAA reads, and our code in it.

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:it holds code that is in version control; CloudTrail records access
  #checkov:skip=CKV_AWS_144:it holds code that terraform apply uploads again anywhere
  #checkov:skip=CKV2_AWS_62:nobody acts on its events, MWAA looks for itself
  bucket        = var.bucket_name
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

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
  bucket = aws_s3_bucket.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyTls"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
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

  bucket      = aws_s3_bucket.this.id
  key         = "dags/${each.key}"
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

  bucket      = aws_s3_bucket.this.id
  key         = each.value
  source      = "${var.package_directory}/${each.value}"
  source_hash = filesha256("${var.package_directory}/${each.value}")
  kms_key_id  = var.kms_key_arn

  override_provider {
    default_tags {
      tags = {}
    }
  }

  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}
