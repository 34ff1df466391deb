variable "name" {
  description = "Identifier of the cluster, and prefix of all names."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the subnets."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the database, in at least two zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids must have at least two subnets, in different zones: Aurora requires it."
  }
}

variable "client_security_group_id" {
  description = "The only security group that may connect: MWAA's."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts storage, snapshots, logs and the administrator's password."
  type        = string
}

variable "engine_version" {
  description = "Version of Aurora PostgreSQL."
  type        = string

  validation {
    condition     = can(regex("^(16|17|18)\\.[0-9]+$", var.engine_version))
    error_message = "engine_version must be a version of Aurora PostgreSQL 16, 17 or 18 such as 16.14."
  }
}

variable "allow_major_version_upgrade" {
  description = "Allow a new major version in engine_version."
  type        = bool
  default     = false
}

variable "database_name" {
  description = "Name of the database in the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9_]{0,62}$", var.database_name)) && !contains(["postgres", "template0", "template1", "rdsadmin", "db"], var.database_name)
    error_message = "database_name must be lower-case letters, digits and underscores, begin with a letter, and be none of PostgreSQL's own (postgres, template0, template1, rdsadmin, db)."
  }
}

variable "min_capacity" {
  description = "Minimum capacity in ACU (2 GiB of memory each). 0: pauses when nobody is connected."
  type        = number

  validation {
    condition     = var.min_capacity >= 0 && var.min_capacity <= 256 && floor(var.min_capacity * 2) == var.min_capacity * 2
    error_message = "min_capacity must be between 0 and 256 ACU, in steps of 0.5."
  }
}

variable "max_capacity" {
  description = "Maximum capacity in ACU."
  type        = number

  validation {
    condition     = var.max_capacity >= 1 && var.max_capacity <= 256 && floor(var.max_capacity * 2) == var.max_capacity * 2 && var.max_capacity >= var.min_capacity
    error_message = "max_capacity must be between 1 and 256 ACU, in steps of 0.5, and not below min_capacity."
  }
}

variable "seconds_until_auto_pause" {
  description = "Idle seconds before it pauses, if min_capacity is 0."
  type        = number
  default     = 600

  validation {
    condition     = var.seconds_until_auto_pause >= 300 && var.seconds_until_auto_pause <= 86400
    error_message = "seconds_until_auto_pause must be between 300 and 86400."
  }
}

variable "instances" {
  description = "1: a writer. 2: also a reader in another zone, which takes over when the writer fails."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3], var.instances)
    error_message = "instances must be 1, 2 or 3."
  }
}

variable "io_optimized" {
  description = "Aurora I/O-Optimized storage instead of standard storage."
  type        = bool
  default     = false
}

variable "performance_insights" {
  description = "Performance Insights, with its free 7 days of history."
  type        = bool
  default     = true
}

variable "logical_replication" {
  description = "Logical replication, for zero-ETL to Redshift. With it Aurora never pauses."
  type        = bool
  default     = false
}

variable "backup_retention_days" {
  description = "Number of days for which the database can be restored."
  type        = number

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 35
    error_message = "backup_retention_days must be between 1 and 35."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the cluster."
  type        = bool
}

variable "final_snapshot" {
  description = "Whether a final snapshot is kept when the cluster is deleted."
  type        = bool
}

variable "log_retention_days" {
  description = "Days for which the server's log is kept."
  type        = number
  default     = 90
}
