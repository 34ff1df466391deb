variable "bucket_name" {
  description = "Name of the bucket, unique in all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name)) && (!var.create_bucket || !strcontains(var.bucket_name, "."))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits and hyphens (an existing one also points)."
  }
}

variable "create_bucket" {
  description = "Create the bucket. False: it exists, and only our files in it are managed here."
  type        = bool
  default     = true
}

variable "prefix" {
  description = "Folder of our files in the bucket, with a slash at its end. Empty: none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([A-Za-z0-9_-]+/)*$", var.prefix))
    error_message = "prefix must be empty, or end with a slash, such as canvas-data-2-dev/."
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
