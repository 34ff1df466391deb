variable "environment" {
  description = "dev, stg or prod: the first part of the DAP key's path, which the DAG reads."
  type        = string

  validation {
    condition     = contains(["dev", "stg", "prod"], var.environment)
    error_message = "environment must be dev, stg or prod."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts secret and parameters."
  type        = string
}

variable "dap_client_id" {
  description = "Client id of the DAP key. Null: a placeholder for you to replace."
  type        = string
  default     = null
  ephemeral   = true
}

variable "dap_client_secret" {
  description = "Client secret of the DAP key. Null: a placeholder for you to replace."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}

variable "dap_key_version" {
  description = "Raise it to write the DAP key again."
  type        = number
  default     = 1
}

variable "create_database_secret" {
  description = "Whether to create the secret of the replication user."
  type        = bool
}

variable "database" {
  description = "Address of the database, for the secret. Null: no secret."
  type = object({
    host     = string
    port     = number
    dbname   = string
    username = string
  })
  default = null
}

variable "password_version" {
  description = "Raise it to set a new password of the replication user."
  type        = number
  default     = 1
}

variable "recovery_window_in_days" {
  description = "Days for which a deleted secret can be restored; its name stays taken. 0: not at all."
  type        = number
  default     = 30

  validation {
    condition     = var.recovery_window_in_days == 0 || (var.recovery_window_in_days >= 7 && var.recovery_window_in_days <= 30)
    error_message = "recovery_window_in_days must be 0, or between 7 and 30."
  }
}
