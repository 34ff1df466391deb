# A complete small network: two zones, each with a public subnet, a private one for MWAA and one for the database.

data "aws_availability_zones" "usable" {
  #checkov:skip=CKV_AWS_394:the subnets keep their zone, whatever zones are added later
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  zones       = length(var.zones) > 0 ? var.zones : [for index in range(2) : element(data.aws_availability_zones.usable.names, index)]
  nat_count   = var.nat_gateway_per_zone ? 2 : 1
  subnet_bits = 3

  # What MWAA itself and the DAG call. MWAA's own queue, log and metric traffic is most of it.
  # airflow.ops is only in AWS's standard partition (docs.aws.amazon.com/general/latest/gr/mwaa.html lists it for no other).
  # In China no source names MWAA's own two: what they carry, the environment's health, takes the NAT gateway there.
  china = startswith(var.region, "cn-")
  services = concat(
    ["sqs", "logs", "monitoring", "kms", "ssm", "secretsmanager", "sns"],
    local.china ? [] : ["airflow.api", "airflow.env"],
    can(regex("^(cn|us-gov|us-iso|eu-isoe|eusc)", var.region)) ? [] : ["airflow.ops"],
  )
  # In China some services' names begin with "cn.", others do not. AWS has the list in its CDK (getDefaultEndpointPrefix of
  # github.com/aws/aws-cdk, packages/aws-cdk-lib/aws-ec2/lib/vpc-endpoint.ts), from `aws ec2 describe-vpc-endpoint-services`
  # in both regions. The gateway endpoint of S3 has no prefix.
  prefixed = local.china ? ["monitoring", "sqs"] : []
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:flow logs are the account's decision: they cost more than the rest of this network, and account guardrails usually set them
  #checkov:skip=CKV2_AWS_12:nothing uses the default security group, every resource here names its own
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_subnet" "public" {
  count                   = 2
  vpc_id                  = aws_vpc.this.id
  availability_zone       = local.zones[count.index]
  cidr_block              = cidrsubnet(var.cidr, local.subnet_bits, count.index)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public-${count.index}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "private" {
  count             = 2
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, local.subnet_bits, 2 + count.index)
  tags              = { Name = "${var.name}-private-${count.index}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "database" {
  count             = 2
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, local.subnet_bits, 4 + count.index)
  tags              = { Name = "${var.name}-database-${count.index}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_eip" "nat" {
  #checkov:skip=CKV2_AWS_19:it belongs to a NAT gateway, as this check allows, but it does not follow count
  count  = local.nat_count
  domain = "vpc"
  tags   = { Name = "${var.name}-nat-${count.index}" }
}

resource "aws_nat_gateway" "this" {
  count         = local.nat_count
  allocation_id = aws_eip.nat[count.index].id
  subnet_id     = aws_subnet.public[count.index].id
  tags          = { Name = "${var.name}-${count.index}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  count  = 2
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_route" "nat" {
  count                  = 2
  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[count.index % local.nat_count].id
}

resource "aws_route_table_association" "private" {
  count          = 2
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

# The database's subnets have no route out of the VPC.
resource "aws_route_table" "database" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-database" }
}

resource "aws_route_table_association" "database" {
  count          = 2
  subnet_id      = aws_subnet.database[count.index].id
  route_table_id = aws_route_table.database.id
}

# Free; MWAA reads all dags, plugins and packages through it.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = aws_route_table.private[*].id
  tags              = { Name = "${var.name}-s3" }
}

resource "aws_security_group" "endpoints" {
  #checkov:skip=CKV2_AWS_5:the interface endpoints below use it; the check does not follow for_each
  count       = var.interface_endpoints ? 1 : 0
  name        = "${var.name}-endpoints"
  description = "HTTPS from inside the VPC to the endpoints of AWS services"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count             = var.interface_endpoints ? 1 : 0
  security_group_id = aws_security_group.endpoints[0].id
  description       = "HTTPS from the VPC"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.cidr
}

resource "aws_vpc_endpoint" "service" {
  for_each            = toset(var.interface_endpoints ? local.services : [])
  vpc_id              = aws_vpc.this.id
  service_name        = "${contains(local.prefixed, each.key) ? "cn." : ""}com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints[0].id]
  tags                = { Name = "${var.name}-${each.key}" }
}
