variable "name" {
  description = "Name of the MWAA environment, its role and its logs."
  type        = string

  validation {
    # A role's prefix has 38 characters at most.
    condition     = can(regex("^[a-zA-Z][0-9a-zA-Z_-]{0,36}$", var.name))
    error_message = "name must begin with a letter and have at most 37 letters, digits, hyphens and underscores (it also begins the name of the IAM role)."
  }
}

variable "partition" {
  description = "AWS partition, for ARNs."
  type        = string
}

variable "region" {
  description = "AWS region, for ARNs."
  type        = string
}

variable "account_id" {
  description = "AWS account, for ARNs."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the subnets."
  type        = string
}

variable "subnet_ids" {
  description = "Two private subnets."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) == 2
    error_message = "subnet_ids must be exactly two private subnets in different zones: MWAA requires exactly two."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the environment and its logs; it must also be the bucket's."
  type        = string
}

variable "other_kms_key_arns" {
  description = "Keys of your own secret or topic."
  type        = list(string)
  default     = []
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the role, if the account requires one."
  type        = string
  default     = null
}

variable "role_path" {
  description = "Path of the role, for accounts that sort or restrict roles by it."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([A-Za-z0-9_+=,.@-]+/)*$", var.role_path))
    error_message = "role_path must begin and end with a slash, such as /airflow/."
  }
}

variable "role_arn" {
  description = "An existing execution role, with the rights and the trust that the outputs role_policy and role_trust_policy show. Null: a new one."
  type        = string
  default     = null
}

variable "extra_security_group_ids" {
  description = "Your own security groups for the environment, besides the one made here; at most four."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.extra_security_group_ids) <= 4
    error_message = "extra_security_group_ids must be at most four: MWAA takes five groups, and one is made here."
  }
}

variable "bucket_name" {
  description = "The bucket with dags and package."
  type        = string
}

variable "bucket_prefix" {
  description = "Folder in the bucket that the role may read, with a slash at its end. Empty: all of it."
  type        = string
  default     = ""
}

variable "dags_path" {
  description = "Folder of the DAGs in the bucket."
  type        = string
}

variable "package" {
  description = "Path and version in the bucket of plugins, requirements and startup (script)."
  type        = map(object({ path = string, version = string }))

  validation {
    condition     = toset(keys(var.package)) == toset(["plugins", "requirements", "startup"])
    error_message = "package must have plugins, requirements and startup."
  }
}

variable "dap_parameter_path" {
  description = "SSM path of the DAP key."
  type        = string
}

variable "database_secret_arn" {
  description = "ARN of the database's secret for the role, with ?????? for the suffix that AWS adds."
  type        = string
}

variable "topic_arn" {
  description = "The only topic that the role may publish to."
  type        = string
}

variable "metrics_namespace" {
  description = "The only namespace in CloudWatch, besides MWAA's own, that the role may put metrics to. Empty: none."
  type        = string
  default     = ""
}

variable "dictionary_s3_uri" {
  description = "The only object in S3 that the role may write. Empty: none."
  type        = string
  default     = ""
}

variable "airflow_version" {
  description = "Version of Airflow."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-z.]{1,32}$", var.airflow_version))
    error_message = "airflow_version must be a version such as 3.3.1."
  }
}

variable "airflow_configuration_options" {
  description = "Airflow's options, `section.key`; ours are `cd2.key`."
  type        = map(string)
  default     = {}
}

variable "environment_class" {
  description = "Size of the containers."
  type        = string
}

variable "min_workers" {
  description = "Minimum number of workers."
  type        = number
}

variable "max_workers" {
  description = "Maximum number of workers."
  type        = number
}

variable "webserver_access_mode" {
  description = "Who reaches the UI: PUBLIC_ONLY or PUBLIC_AND_PRIVATE."
  type        = string
}

variable "weekly_maintenance_window_start" {
  description = "When AWS may replace containers, in UTC."
  type        = string

  validation {
    condition     = can(regex("^(MON|TUE|WED|THU|FRI|SAT|SUN):([01][0-9]|2[0-3]):(00|30)$", var.weekly_maintenance_window_start))
    error_message = "weekly_maintenance_window_start must be a day and a full or half hour in UTC such as SUN:04:30."
  }
}

variable "log_level" {
  description = "Minimum level that Airflow's components log."
  type        = string
  default     = "INFO"
}

variable "log_retention_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 90
}

variable "dns_suffix" {
  description = "Domain of the partition's services (amazonaws.com.cn in China), as in kms:ViaService."
  type        = string
  default     = "amazonaws.com"
}

variable "webserver_client_cidrs" {
  description = "Networks that reach the UI through the VPC, if webserver_access_mode has a private side."
  type        = set(string)
  default     = []
}
