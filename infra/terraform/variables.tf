variable "environment" {
  description = "dev, stg or prod: part of all names, and of the path of the DAP key."
  type        = string

  validation {
    condition     = contains(["dev", "stg", "prod"], var.environment)
    error_message = "environment must be dev, stg or prod: the DAG reads its DAP key below that name."
  }
}

variable "region" {
  description = "AWS region. Null: from your AWS configuration."
  type        = string
  default     = null

  validation {
    condition     = var.region == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region must be the name of a region such as eu-central-1; leave it out to take that of your AWS configuration."
  }
}

variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "canvas-data-2"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name must have 3 to 24 lower-case letters, digits and single hyphens, and begin with a letter: bucket, cluster and role are named after it."
  }
}

variable "tags" {
  description = "Tags for all resources, besides Project and Environment."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.tags) <= 40 && alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "tags must be at most 40, and none may begin with aws:."
  }

  validation {
    condition     = alltrue([for key, value in var.tags : can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{1,128}$", key)) && can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{0,256}$", value))])
    error_message = "tags has a name or value that MWAA refuses: names have 1 to 128 characters, values at most 256, all of them letters, digits, spaces and _ . : / = + - @."
  }
}

variable "create_network" {
  description = "Create a VPC with subnets and NAT. False: use vpc_id and private_subnet_ids."
  type        = bool
  default     = false

  validation {
    condition     = var.create_network || (var.vpc_id != null && length(var.private_subnet_ids) > 0)
    error_message = "Without create_network, set vpc_id and private_subnet_ids; or set create_network = true for a new network."
  }

  validation {
    condition     = !var.create_network || (var.vpc_id == null && length(var.private_subnet_ids) == 0 && length(var.database_subnet_ids) == 0)
    error_message = "create_network = true creates a VPC and subnets: leave vpc_id, private_subnet_ids and database_subnet_ids out, or set it to false to use them."
  }
}

variable "vpc_id" {
  description = "An existing VPC."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null || can(regex("^vpc-[0-9a-f]+$", var.vpc_id))
    error_message = "vpc_id must be the id of a VPC (vpc-...)."
  }
}

variable "private_subnet_ids" {
  description = "Exactly two private subnets of it, in different zones, with a route to the internet (NAT), for MWAA."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.private_subnet_ids) == 0 || (length(var.private_subnet_ids) == 2 && length(distinct(var.private_subnet_ids)) == 2)
    error_message = "private_subnet_ids must be exactly two different private subnets: MWAA requires exactly two."
  }

  validation {
    condition     = alltrue([for id in var.private_subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "private_subnet_ids must be ids of subnets (subnet-...)."
  }
}

variable "database_subnet_ids" {
  description = "Subnets for Aurora, in at least two zones. Empty: MWAA's."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.database_subnet_ids) == 0 || length(distinct(var.database_subnet_ids)) >= 2
    error_message = "database_subnet_ids must be at least two different subnets, in different zones: Aurora requires it."
  }

  validation {
    condition     = alltrue([for id in var.database_subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "database_subnet_ids must be ids of subnets (subnet-...)."
  }
}

variable "vpc_cidr" {
  description = "Addresses of a new VPC."
  type        = string
  default     = "10.42.0.0/22"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 23, false)
    error_message = "vpc_cidr must be a network such as 10.42.0.0/22, between /16 and /23."
  }

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr, false)
    error_message = "vpc_cidr must be a network of IPv4 by its first address, such as 10.42.0.0/22 (not 10.42.1.7/22)."
  }
}

variable "availability_zones" {
  description = "Two zones for a new network, such as [\"us-east-1a\", \"us-east-1b\"]. Empty: the first two of the region. Choose if MWAA or Aurora refuses one of those."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.availability_zones) == 0 || (length(var.availability_zones) == 2 && length(distinct(var.availability_zones)) == 2)
    error_message = "availability_zones must be exactly two different zones, or empty."
  }

  validation {
    condition     = length(var.availability_zones) == 0 || var.create_network
    error_message = "availability_zones are those of a new network: without create_network, the zones are those of your subnets."
  }
}

variable "nat_gateway_per_zone" {
  description = "In a new network: a NAT gateway in each zone instead of one for both."
  type        = bool
  default     = false
}

variable "interface_endpoints" {
  description = "In a new network: VPC endpoints for the AWS services in use, so that their traffic bypasses the NAT gateway."
  type        = bool
  default     = false
}

variable "airflow_version" {
  description = "Version of Airflow. requirements.txt and its constraints file are for 3.3.1."
  type        = string
  default     = "3.3.1"

  validation {
    condition     = can(regex("^3\\.[0-9]+\\.[0-9]+$", var.airflow_version))
    error_message = "airflow_version must be a version of Airflow 3 such as 3.3.1: the DAG does not run on others."
  }
}

variable "environment_class" {
  description = "Size of the containers. mw1.small has 5 task slots on 1 vCPU and 2 GB, each larger one twice that; mw1.micro has 3, and one scheduler and one worker in all."
  type        = string
  default     = "mw1.small"

  validation {
    condition     = contains(["mw1.micro", "mw1.small", "mw1.medium", "mw1.large", "mw1.xlarge", "mw1.2xlarge"], var.environment_class)
    error_message = "environment_class must be mw1.micro, mw1.small, mw1.medium, mw1.large, mw1.xlarge or mw1.2xlarge."
  }
}

variable "min_workers" {
  description = "Minimum number of workers."
  type        = number
  default     = 1

  validation {
    condition     = var.min_workers >= 1 && floor(var.min_workers) == var.min_workers
    error_message = "min_workers must be a whole number of 1 or more."
  }
}

variable "max_workers" {
  description = "Maximum number of workers. One of mw1.small is enough: DAP allows five tables a minute."
  type        = number
  default     = 2

  validation {
    condition     = var.max_workers >= var.min_workers && var.max_workers <= 25 && floor(var.max_workers) == var.max_workers
    error_message = "max_workers must be a whole number, not below min_workers, and at most 25."
  }

  validation {
    condition     = var.environment_class != "mw1.micro" || var.max_workers == 1
    error_message = "mw1.micro has exactly one worker: set max_workers = 1, or a larger environment_class."
  }
}

variable "webserver_access_mode" {
  description = "Who reaches Airflow's UI: PUBLIC_ONLY (from anywhere, with an AWS login), or PUBLIC_AND_PRIVATE (also webserver_client_cidrs, through the VPC). PRIVATE_ONLY is refused: docs/deploy.md says why."
  type        = string
  default     = "PUBLIC_ONLY"

  validation {
    condition     = contains(["PUBLIC_ONLY", "PUBLIC_AND_PRIVATE"], var.webserver_access_mode)
    error_message = "webserver_access_mode must be PUBLIC_ONLY or PUBLIC_AND_PRIVATE. PRIVATE_ONLY cannot work with this package: a private web server does not reach the package index that requirements.txt is installed from, and make deploy and make smoke do not reach its Airflow from outside of the VPC."
  }

  validation {
    condition     = var.webserver_access_mode != "PUBLIC_AND_PRIVATE" || !can(regex("^3\\.[01]\\.", var.airflow_version))
    error_message = "webserver_access_mode PUBLIC_AND_PRIVATE needs Airflow 3.2 or newer."
  }
}

variable "weekly_maintenance_window_start" {
  description = "When AWS may replace containers: day and full or half hour in UTC."
  type        = string
  default     = "SUN:04:30"

  validation {
    condition     = can(regex("^(MON|TUE|WED|THU|FRI|SAT|SUN):([01][0-9]|2[0-3]):(00|30)$", var.weekly_maintenance_window_start))
    error_message = "weekly_maintenance_window_start must be a day and a full or half hour in UTC such as SUN:04:30."
  }
}

variable "settings" {
  description = "Our settings, as in docs/configuration.md: { namespaces = \"canvas,catalog\" }. environment, ssm_path, database_secret, sns_topic_arn and dictionary_s3_uri are set by Terraform."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.settings), local.free_settings)) == 0
    error_message = "settings has an unknown name, or one that Terraform sets itself. Allowed are: ${join(", ", local.free_settings)}."
  }

  validation {
    condition     = alltrue([for name in split(",", lookup(var.settings, "namespaces", "canvas")) : contains(["canvas", "canvas_logs", "catalog", "new_quizzes"], trimspace(name))])
    error_message = "settings.namespaces must be a comma-separated list of canvas, canvas_logs, catalog, new_quizzes."
  }

  validation {
    condition     = alltrue([for name in ["job_creations_per_minute", "max_active_tables"] : can(regex("^[1-9][0-9]*$", lookup(var.settings, name, "1")))])
    error_message = "settings.job_creations_per_minute and settings.max_active_tables must be whole numbers of 1 or more."
  }

  validation {
    condition     = can(regex("^([A-Za-z0-9._/#-]+)?$", trimspace(lookup(var.settings, "metrics_namespace", "")))) && !startswith(lower(trimspace(lookup(var.settings, "metrics_namespace", ""))), "aws/")
    error_message = "settings.metrics_namespace must be a namespace of CloudWatch such as CanvasData2/prod (letters, digits and . _ / # -), and must not begin with AWS/. Empty: no metrics."
  }

  validation {
    condition     = alltrue([for value in values(var.settings) : can(regex("^[ -~]*$", value))])
    error_message = "settings has a value with a character outside of ASCII, or with a line break: MWAA refuses both."
  }
}

variable "airflow_configuration_options" {
  description = "More Airflow options, `section.key`; they override those set here. Ours belong in settings."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.airflow_configuration_options) : can(regex("^[a-z_0-9]+\\.[a-z_0-9]+$", key)) && !startswith(key, "cd2.")])
    error_message = "airflow_configuration_options must have names of the form section.key; those of cd2 belong in settings."
  }

  validation {
    condition     = length(setintersection(keys(var.airflow_configuration_options), ["core.executor", "core.fernet_key", "celery.broker_url", "celery.result_backend", "database.sql_alchemy_conn", "triggerer.queues_enabled"])) == 0
    error_message = "airflow_configuration_options has an option that MWAA sets itself and does not allow to change (executor, fernet key, broker, databases, triggerer queues)."
  }

  validation {
    condition     = alltrue([for value in values(var.airflow_configuration_options) : can(regex("^[ -~]+$", value))])
    error_message = "airflow_configuration_options has an empty value, or one with a character outside of ASCII or a line break: MWAA refuses these."
  }
}

variable "log_level" {
  description = "Minimum level that Airflow's components log to CloudWatch."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "log_level must be DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "log_retention_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's periods, such as 30, 90 or 365."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the execution role, if your account requires one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of a policy (arn:aws:iam::ACCOUNT:policy/NAME)."
  }
}

variable "execution_role_path" {
  description = "Path of the execution role, for accounts that sort or restrict roles by it."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([A-Za-z0-9_+=,.@-]+/)*$", var.execution_role_path))
    error_message = "execution_role_path must begin and end with a slash, such as /airflow/."
  }
}

variable "execution_role_arn" {
  description = "An existing execution role, with the rights and the trust that the outputs execution_role_policy and execution_role_trust_policy show. Null: a new one."
  type        = string
  default     = null

  validation {
    condition     = var.execution_role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", var.execution_role_arn))
    error_message = "execution_role_arn must be the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)."
  }

  validation {
    condition     = var.execution_role_arn == null || (var.permissions_boundary_arn == null && var.execution_role_path == "/")
    error_message = "permissions_boundary_arn and execution_role_path belong to a role that is made here: leave them out with execution_role_arn."
  }
}

variable "extra_security_group_ids" {
  description = "Your own security groups for MWAA, besides the one made here; at most four."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.extra_security_group_ids) <= 4 && alltrue([for id in var.extra_security_group_ids : can(regex("^sg-[0-9a-f]+$", id))])
    error_message = "extra_security_group_ids must be at most four ids of security groups (sg-...): MWAA takes five groups, and one is made here."
  }
}

variable "kms_key_arn" {
  description = "Your own key for everything: ARN, id or alias, in this region. Null: a new one. Its policy must let CloudWatch's logs and alarms use it (modules/encryption/main.tf shows how)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^(((arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)?key/)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)?alias/[A-Za-z0-9/_-]+)$", var.kms_key_arn))
    error_message = "kms_key_arn must be a key's ARN (arn:aws:kms:REGION:ACCOUNT:key/ID), its id, or its alias (alias/NAME); MWAA takes no multi-region key (mrk-...)."
  }
}

variable "other_kms_key_arns" {
  description = "Keys of your own secret (database_secret_arn) or topic (sns_topic_arn), if they have one."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.other_kms_key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]+$", arn))])
    error_message = "other_kms_key_arns must be ARNs of keys (arn:aws:kms:REGION:ACCOUNT:key/ID), not of aliases."
  }
}

variable "package_directory" {
  description = "Folder with plugins.zip, requirements.txt and startup.sh, built by `make package`."
  type        = string
  default     = "../../dist"

  validation {
    condition     = alltrue([for file in ["plugins.zip", "requirements.txt", "startup.sh"] : fileexists("${var.package_directory}/${file}")])
    error_message = "package_directory (${var.package_directory}) must hold plugins.zip, requirements.txt and startup.sh: run `make package`."
  }
}

variable "dags_directory" {
  description = "Folder of the DAG and its constraints file."
  type        = string
  default     = "../../dags"

  validation {
    condition     = length(fileset(var.dags_directory, "*.py")) > 0 && length(fileset(var.dags_directory, "constraints-*.txt")) > 0
    error_message = "dags_directory (${var.dags_directory}) must hold a DAG and the constraints file that requirements.txt names: without that, MWAA starts without our packages."
  }
}

variable "bucket_name" {
  description = "An existing bucket in this region, versioned and with all public access blocked. It gets the folder NAME-ENVIRONMENT; nothing else in it is read, changed or deleted. Null: a new one."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || (can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name)) && !can(regex("\\.\\.|^[0-9]+(\\.[0-9]+){3}$", var.bucket_name)))
    error_message = "bucket_name must be the name of a bucket (3 to 63 lower-case letters, digits, points and hyphens), not an ARN or an address."
  }

  validation {
    condition     = var.bucket_name == null || var.bucket_force_destroy == null
    error_message = "bucket_force_destroy belongs to a bucket that is made here: leave it out with bucket_name, which is never destroyed."
  }
}

variable "bucket_force_destroy" {
  description = "Whether destroying the bucket deletes its objects. Null: except in prod."
  type        = bool
  default     = null
}
