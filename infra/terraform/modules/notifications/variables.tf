variable "name" {
  description = "Name of the topic, and prefix of the alarms that may publish."
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
}

variable "topic_arn" {
  description = "An existing topic, instead of a new one. Its policy and key must let the role and CloudWatch publish."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "Key that encrypts a new topic."
  type        = string
}

variable "publisher_role_arn" {
  description = "Role of the environment: the DAG publishes the result of each run."
  type        = string
}

variable "emails" {
  description = "Subscribers. Each first gets a message to confirm the subscription."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "emails must be e-mail addresses."
  }
}
