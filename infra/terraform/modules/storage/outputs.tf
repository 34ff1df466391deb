output "bucket_name" {
  description = "Name of the bucket."
  value       = var.bucket_name

  # MWAA refuses a bucket that is not versioned or not blocked for the public.
  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_public_access_block.this, aws_s3_bucket_policy.tls_only]
}

output "dags_path" {
  description = "Where the DAGs are in the bucket, once all of them are there: requirements.txt names a constraints file among them, and MWAA installs while the environment starts."
  value       = "${var.prefix}dags"

  depends_on = [aws_s3_object.dag]
}

output "package" {
  description = "Path and version of plugins, requirements and startup script."
  value       = { for name, object in aws_s3_object.package : name => { path = object.key, version = object.version_id } }
}
