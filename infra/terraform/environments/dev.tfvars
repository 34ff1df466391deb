# A deployment to try things on: the smallest of everything, gone without a trace when it is destroyed.
environment = "dev"

# A network of its own. To use yours instead:
#   create_network      = false
#   vpc_id              = "vpc-..."
#   private_subnet_ids  = ["subnet-...", "subnet-..."] # exactly two, with a way to the internet
#   database_subnet_ids = ["subnet-...", "subnet-..."] # left out: the same
create_network = true

# Who gets notifications and alarms.
alert_emails = []

database_min_capacity          = 0 # pauses when nobody is connected
database_max_capacity          = 2
database_backup_retention_days = 1
log_retention_days             = 30

settings = {
  namespaces = "canvas"
}
