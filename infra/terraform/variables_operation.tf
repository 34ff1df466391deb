variable "dap_client_id" {
  description = "Client id of the DAP key, preferably as TF_VAR_dap_client_id. Null: a placeholder for you to replace in SSM. Never in plan or state."
  type        = string
  default     = null
  ephemeral   = true

  validation {
    condition     = (var.dap_client_id == null) == (var.dap_client_secret == null)
    error_message = "dap_client_id and dap_client_secret belong together: set both, or neither."
  }

  validation {
    condition     = var.dap_client_id == null ? true : trimspace(var.dap_client_id) != ""
    error_message = "dap_client_id is empty: set it to the id of the DAP key, or leave it out."
  }
}

variable "dap_client_secret" {
  description = "Client secret of the DAP key, preferably as TF_VAR_dap_client_secret. Never in plan or state."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = var.dap_client_secret == null ? true : trimspace(var.dap_client_secret) != ""
    error_message = "dap_client_secret is empty: set it to the secret of the DAP key, or leave it out."
  }
}

variable "dap_key_version" {
  description = "Raise it to write dap_client_id and dap_client_secret again. Otherwise your changes in SSM stay."
  type        = number
  default     = 1
}

variable "secret_recovery_days" {
  description = "Days for which a deleted secret can be restored; its name stays taken. 0: not at all. Null: 30 in prod, otherwise 0."
  type        = number
  default     = null

  validation {
    condition     = var.secret_recovery_days == null ? true : var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "secret_recovery_days must be 0, or between 7 and 30."
  }
}

variable "sns_topic_arn" {
  description = "An existing topic for notifications and alarms. Null: a new one. Its policy and key must let CloudWatch and the execution role publish."
  type        = string
  default     = null

  validation {
    condition     = var.sns_topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.sns_topic_arn))
    error_message = "sns_topic_arn must be the ARN of a standard topic (arn:aws:sns:REGION:ACCOUNT:NAME)."
  }
}

variable "dictionary_s3_uri" {
  description = "Where each scheduled run about all tables writes the data dictionary, such as s3://bucket/canvas/dictionary.html; the execution role may write this one object. Empty: nowhere. A bucket of yours must be encrypted with S3's own key, or with the key of the deployment."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.dictionary_s3_uri == "" || can(regex("^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/([^/?#*\\s][^?#*\\s]*)?[^/?#*\\s]$", var.dictionary_s3_uri))
    error_message = "dictionary_s3_uri must be the address of an object, such as s3://bucket/canvas/dictionary.html."
  }
}

variable "alert_emails" {
  description = "Who gets notifications and alarms by e-mail. Each first gets a message to confirm the subscription."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "alert_emails must be e-mail addresses."
  }
}

variable "hours_without_success" {
  description = "Alarm if no run succeeds for this many hours. The DAG runs every three hours."
  type        = number
  default     = 6

  validation {
    condition     = var.hours_without_success >= 4 && var.hours_without_success <= 24 && floor(var.hours_without_success) == var.hours_without_success
    error_message = "hours_without_success must be a whole number between 4 and 24: the DAG runs every three hours, and takes some time."
  }
}

variable "hours_data_may_be_old" {
  description = "Alarm if no run has reported for hours_without_success hours that all data is younger than this many hours: that every table was found equal to Canvas Data 2 in that time."
  type        = number
  default     = 24

  validation {
    condition     = var.hours_data_may_be_old >= 4 && var.hours_data_may_be_old <= 168 && floor(var.hours_data_may_be_old) == var.hours_data_may_be_old
    error_message = "hours_data_may_be_old must be a whole number between 4 and 168: the DAG runs every three hours, and takes some time."
  }
}

variable "failed_tables_alarm" {
  description = "Alarm if this many tables failed in a run, until fewer do."
  type        = number
  default     = 1

  validation {
    condition     = var.failed_tables_alarm >= 1 && floor(var.failed_tables_alarm) == var.failed_tables_alarm
    error_message = "failed_tables_alarm must be a whole number of 1 or more."
  }
}

variable "queue_age_seconds" {
  description = "Alarm if tasks wait for a worker for this many seconds and none runs: a multiple of 300."
  type        = number
  default     = 1800

  validation {
    condition     = var.queue_age_seconds >= 300 && var.queue_age_seconds <= 86400 && var.queue_age_seconds % 300 == 0
    error_message = "queue_age_seconds must be a multiple of 300 between 300 and 86400: MWAA publishes what waits every few minutes."
  }
}

variable "database_storage_alarm_gib" {
  description = "Alarm if Aurora's volume exceeds this."
  type        = number
  default     = 500

  validation {
    condition     = var.database_storage_alarm_gib >= 1
    error_message = "database_storage_alarm_gib must be at least 1."
  }
}

variable "webserver_client_cidrs" {
  description = "With PUBLIC_AND_PRIVATE: the networks that reach Airflow's UI through the VPC, by HTTPS."
  type        = set(string)
  default     = []

  validation {
    # By its first address: AWS would change another, and the next plan want it back.
    condition = alltrue([
      for cidr in var.webserver_client_cidrs :
      can(cidrnetmask(cidr)) && !endswith(cidr, "/0") && try(cidrsubnet(cidr, 0, 0) == cidr, false)
    ])
    error_message = "webserver_client_cidrs must be networks of IPv4 by their first address, such as 10.20.0.0/16 (not 10.20.1.7/16), and not all addresses."
  }

  validation {
    condition     = (var.webserver_access_mode == "PUBLIC_AND_PRIVATE") == (length(var.webserver_client_cidrs) > 0)
    error_message = "webserver_client_cidrs belongs to webserver_access_mode = PUBLIC_AND_PRIVATE, and that needs it: otherwise nobody is let in through the VPC."
  }
}
