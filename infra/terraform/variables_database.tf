variable "create_database" {
  description = "Create an Aurora cluster. False: use the database of database_secret_arn."
  type        = bool
  default     = true

  validation {
    condition     = var.create_database || var.database_secret_arn != null
    error_message = "create_database = false needs database_secret_arn: the secret (JSON with host, port, dbname, username, password) of your own database."
  }

  validation {
    condition     = !var.create_database || (var.database_secret_arn == null && var.database_security_group_id == null)
    error_message = "database_secret_arn and database_security_group_id belong to a database of your own: set create_database = false, or leave them out."
  }
}

variable "database_secret_arn" {
  description = "Secret of your own database: JSON with host, port, dbname, username, password."
  type        = string
  default     = null

  validation {
    condition     = var.database_secret_arn == null || can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^*]+$", var.database_secret_arn))
    error_message = "database_secret_arn must be the complete ARN of a secret (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-abcdef)."
  }
}

variable "database_security_group_id" {
  description = "Security group of your own database, which gets a rule for MWAA. Null: you allow MWAA yourself."
  type        = string
  default     = null

  validation {
    condition     = var.database_security_group_id == null || can(regex("^sg-[0-9a-f]+$", var.database_security_group_id))
    error_message = "database_security_group_id must be the id of a security group (sg-...)."
  }
}

variable "database_port" {
  description = "Port of your own database, for that rule."
  type        = number
  default     = 5432

  validation {
    condition     = var.database_port >= 1 && var.database_port <= 65535 && floor(var.database_port) == var.database_port
    error_message = "database_port must be a port number."
  }
}

variable "database_engine_version" {
  description = "Version of Aurora PostgreSQL. All tests run on PostgreSQL 16."
  type        = string
  default     = "16.14"

  validation {
    condition     = can(regex("^(16|17|18)\\.[0-9]+$", var.database_engine_version))
    error_message = "database_engine_version must be a version of Aurora PostgreSQL 16, 17 or 18 such as 16.14."
  }
}

variable "database_allow_major_version_upgrade" {
  description = "Allow a new major version in database_engine_version (16 to 17). Aurora refuses it otherwise. docs/deploy.md has the steps."
  type        = bool
  default     = false
}

variable "database_name" {
  description = "Name of the database in the cluster."
  type        = string
  default     = "cd2"

  validation {
    condition     = can(regex("^[a-z][a-z0-9_]{0,62}$", var.database_name)) && !contains(["postgres", "template0", "template1", "rdsadmin", "db"], var.database_name)
    error_message = "database_name must be lower-case letters, digits and underscores, begin with a letter, and be none of PostgreSQL's own (postgres, template0, template1, rdsadmin, db)."
  }
}

variable "database_min_capacity" {
  description = "Minimum capacity in ACU (2 GiB of memory each). 0: Aurora pauses when nobody is connected (docs/deploy.md says what keeps it awake), and the next connection waits about 15 seconds."
  type        = number
  default     = 0

  validation {
    condition     = var.database_min_capacity >= 0 && var.database_min_capacity <= 256 && floor(var.database_min_capacity * 2) == var.database_min_capacity * 2
    error_message = "database_min_capacity must be between 0 and 256 ACU, in steps of 0.5."
  }

  validation {
    condition     = var.database_min_capacity != 0 || !can(regex("^16\\.[0-2]$", var.database_engine_version))
    error_message = "database_min_capacity = 0 (a database that pauses) needs Aurora PostgreSQL 16.3 or newer: raise database_engine_version, or set 0.5."
  }
}

variable "database_max_capacity" {
  description = "Maximum capacity in ACU."
  type        = number
  default     = 4

  validation {
    condition     = var.database_max_capacity >= 1 && var.database_max_capacity <= 256 && floor(var.database_max_capacity * 2) == var.database_max_capacity * 2 && var.database_max_capacity >= var.database_min_capacity
    error_message = "database_max_capacity must be between 1 and 256 ACU, in steps of 0.5, and not below database_min_capacity."
  }
}

variable "database_seconds_until_auto_pause" {
  description = "Idle seconds before Aurora pauses, if database_min_capacity is 0."
  type        = number
  default     = 600

  validation {
    condition     = var.database_seconds_until_auto_pause >= 300 && var.database_seconds_until_auto_pause <= 86400
    error_message = "database_seconds_until_auto_pause must be between 300 and 86400."
  }
}

variable "database_instances" {
  description = "1: a writer. 2: also a reader in another zone, which takes over when the writer fails."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3], var.database_instances)
    error_message = "database_instances must be 1, 2 or 3."
  }
}

variable "database_io_optimized" {
  description = "Aurora I/O-Optimized: no charge for I/O, but more for capacity and storage. Can be changed back after 30 days."
  type        = bool
  default     = false
}

variable "database_performance_insights" {
  description = "Performance Insights for Aurora, with its free 7 days of history."
  type        = bool
  default     = true
}

variable "database_logical_replication" {
  description = "Logical replication, for zero-ETL to Redshift (modules/analytics). With it Aurora never pauses. Takes effect when the instances restart."
  type        = bool
  default     = false

  validation {
    condition     = !var.database_logical_replication || var.database_min_capacity > 0
    error_message = "database_logical_replication keeps Aurora awake, so it never pauses: set database_min_capacity to 0.5 or more."
  }
}

variable "database_backup_retention_days" {
  description = "Number of days for which the database can be restored."
  type        = number
  default     = 7

  validation {
    condition     = var.database_backup_retention_days >= 1 && var.database_backup_retention_days <= 35
    error_message = "database_backup_retention_days must be between 1 and 35."
  }
}

variable "database_deletion_protection" {
  description = "AWS refuses to delete the cluster. Null: only in prod."
  type        = bool
  default     = null
}

variable "database_final_snapshot" {
  description = "Keep a final snapshot when the cluster is deleted. Null: only in prod."
  type        = bool
  default     = null
}

variable "replication_user_name" {
  description = "Database user of the DAG; scripts/prepare_database creates it."
  type        = string
  default     = "cd2_replication"

  validation {
    condition     = can(regex("^[a-z][a-z0-9_]{0,62}$", var.replication_user_name)) && !startswith(var.replication_user_name, "pg_") && !startswith(var.replication_user_name, "rds") && var.replication_user_name != "cd2_admin"
    error_message = "replication_user_name must be lower-case letters, digits and underscores, begin with a letter, and not be the administrator (cd2_admin) nor begin with pg_ or rds."
  }
}

variable "replication_password_version" {
  description = "Raise it to set a new password of the replication user, then run scripts/prepare_database (make deploy does)."
  type        = number
  default     = 1
}
