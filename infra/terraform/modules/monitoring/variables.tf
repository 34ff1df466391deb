variable "name" {
  description = "Name of the MWAA environment, as in its metrics; prefix of alarms and dashboard."
  type        = string
}

variable "region" {
  description = "AWS region, for the dashboard."
  type        = string
}

variable "topic_arn" {
  description = "Topic that gets the alarms."
  type        = string
}

variable "dag_id" {
  description = "The DAG to watch."
  type        = string
  default     = "canvas_data_2"
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

variable "queue_age_seconds" {
  description = "Alarm if tasks wait for a worker for this many seconds and none runs: a multiple of 300."
  type        = number
  default     = 1800

  validation {
    condition     = var.queue_age_seconds >= 300 && var.queue_age_seconds <= 86400 && var.queue_age_seconds % 300 == 0
    error_message = "queue_age_seconds must be a multiple of 300 between 300 and 86400: MWAA publishes what waits every few minutes."
  }
}

variable "metrics_namespace" {
  description = "Namespace of the metrics that the DAG puts for each run ([cd2] metrics_namespace). Empty: it puts none, and they are not watched."
  type        = string
  default     = ""
}

variable "metrics_environment" {
  description = "The dimension Environment of those metrics: dev, stg or prod."
  type        = string
  default     = ""
}

variable "data_namespaces" {
  description = "Namespaces of Canvas Data 2 whose age the dashboard shows, such as canvas and catalog."
  type        = list(string)
  default     = []
}

variable "hours_data_may_be_old" {
  description = "Alarm if a table was not found equal to Canvas Data 2 for this many hours."
  type        = number
  default     = 24

  validation {
    condition     = var.hours_data_may_be_old >= 4 && var.hours_data_may_be_old <= 168 && floor(var.hours_data_may_be_old) == var.hours_data_may_be_old
    error_message = "hours_data_may_be_old must be a whole number between 4 and 168: the DAG runs every three hours, and takes some time."
  }
}

variable "failed_tables_alarm" {
  description = "Alarm if this many tables failed in a run."
  type        = number
  default     = 1

  validation {
    condition     = var.failed_tables_alarm >= 1 && floor(var.failed_tables_alarm) == var.failed_tables_alarm
    error_message = "failed_tables_alarm must be a whole number of 1 or more."
  }
}

variable "watch_database" {
  description = "Whether to watch an Aurora cluster."
  type        = bool
}

variable "cluster_identifier" {
  description = "The Aurora cluster, if there is one."
  type        = string
  default     = null
}

variable "storage_gib" {
  description = "Alarm if the cluster's volume exceeds this. Aurora's storage grows automatically, and so does its price."
  type        = number
  default     = 500

  validation {
    condition     = var.storage_gib >= 1
    error_message = "storage_gib must be at least 1."
  }
}
