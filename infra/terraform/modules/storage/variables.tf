variable "bucket_name" {
  description = "Name of the bucket, unique in all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the objects; MWAA requires that of the environment."
  type        = string
}

variable "package_directory" {
  description = "Folder with plugins.zip, requirements.txt and startup.sh, built by `make package`."
  type        = string
}

variable "dags_directory" {
  description = "Folder of the DAG and of the constraints file that requirements.txt names."
  type        = string
}

variable "force_destroy" {
  description = "Whether destroying the bucket also deletes all versions of its objects."
  type        = bool
  default     = false
}
