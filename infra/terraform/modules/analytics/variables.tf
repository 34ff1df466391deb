variable "name" {
  description = "Prefix of all names: that of the deployment, such as canvas-data-2-dev."
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

variable "dns_suffix" {
  description = "Domain of the partition's services, as in kms:ViaService."
  type        = string
  default     = "amazonaws.com"
}

variable "account_id" {
  description = "AWS account, for ARNs."
  type        = string
}

variable "athena" {
  description = "Query the replica with Athena, through AWS's connector for PostgreSQL."
  type        = bool
  default     = false
}

variable "zero_etl" {
  description = "Replicate the replica to Redshift Serverless. Needs database_logical_replication = true."
  type        = bool
  default     = false
}

variable "vpc_id" {
  description = "VPC of the database."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets for the connector and Redshift, with a route to AWS's services."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "Key that encrypts results, secret and warehouse: the one of the deployment."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the connector's role, if the account requires one."
  type        = string
  default     = null
}

variable "database" {
  description = "The replica: its host, port, name, ARN of the cluster, and security group."
  type = object({
    host              = string
    port              = number
    name              = string
    cluster_arn       = string
    security_group_id = string
  })
}

variable "reader" {
  description = "User of the database that the connector logs in as. You create it, and may change its password in the secret."
  type        = string
  default     = "athena_reader"

  validation {
    condition     = can(regex("^[a-z][a-z0-9_]{0,62}$", var.reader))
    error_message = "reader must be lower-case letters, digits and underscores, and begin with a letter."
  }
}

variable "connector_version" {
  description = "Version of AWS's connector in the Serverless Application Repository. Null: the newest."
  type        = string
  default     = null
}

variable "data_filter" {
  description = "What zero-ETL replicates, as AWS writes it: include: DATABASE.canvas.courses, include: DATABASE.canvas.users. Choose tables whose types Redshift takes."
  type        = string
  default     = null

  validation {
    condition     = var.data_filter == null || can(regex("^(include|exclude): ", var.data_filter))
    error_message = "data_filter must be a list such as include: DATABASE.canvas.courses, exclude: DATABASE.canvas.web_logs."
  }
}

variable "base_capacity" {
  description = "Capacity of Redshift Serverless in RPU, while it works."
  type        = number
  default     = 8

  validation {
    condition     = var.base_capacity >= 8 && var.base_capacity <= 1024 && var.base_capacity % 8 == 0
    error_message = "base_capacity must be a multiple of 8 between 8 and 1024."
  }
}

variable "enhanced_vpc_routing" {
  description = "Redshift's own traffic (COPY, UNLOAD) goes through the VPC. AWS then wants subnets in three zones; the network that is made here has two."
  type        = bool
  default     = false

  validation {
    condition     = !var.enhanced_vpc_routing || length(var.subnet_ids) >= 3
    error_message = "enhanced_vpc_routing needs subnets in at least three zones."
  }
}

variable "force_destroy" {
  description = "Whether destroying the bucket deletes the results of queries in it."
  type        = bool
  default     = true
}
