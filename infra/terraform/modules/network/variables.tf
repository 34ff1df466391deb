variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "region" {
  description = "AWS region, for the names of the endpoints' services."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC, between /16 and /23. It is split into eight: two public subnets, two for MWAA, two for the database, two spare."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 23, false)
    error_message = "cidr must be a network such as 10.42.0.0/22, between /16 and /23: MWAA alone needs dozens of addresses."
  }
}

variable "zones" {
  description = "Two availability zones. Empty: the first two of the region."
  type        = list(string)
  default     = []

  validation {
    condition     = contains([0, 2], length(distinct(var.zones))) && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones must be exactly two different zones, or empty."
  }
}

variable "nat_gateway_per_zone" {
  description = "A NAT gateway in each of the two zones instead of one for both: twice the price, and MWAA keeps running when a zone is down."
  type        = bool
  default     = false
}

variable "interface_endpoints" {
  description = "VPC endpoints for the AWS services in use, so that their traffic bypasses the NAT gateway. The Instructure API still needs NAT."
  type        = bool
  default     = false

  validation {
    condition     = !var.interface_endpoints || !can(regex("^(us-iso|eu-isoe)", var.region))
    error_message = "interface_endpoints must be false in AWS's isolated partitions (aws-iso...): the names of endpoints differ there by service and region. The NAT gateway carries the traffic."
  }
}
