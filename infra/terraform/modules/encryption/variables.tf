variable "name" {
  description = "Name of the key's alias, and of the topic that alarms may use it for."
  type        = string
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

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be the twelve digits of an AWS account."
  }
}

variable "deletion_window_in_days" {
  description = "Days for which a deleted key can be restored."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30
    error_message = "deletion_window_in_days must be between 7 and 30."
  }
}

variable "dns_suffix" {
  description = "Domain of the partition's services (amazonaws.com.cn in China), for the principal of CloudWatch's logs."
  type        = string
  default     = "amazonaws.com"
}
