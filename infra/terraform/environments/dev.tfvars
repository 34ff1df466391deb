# A deployment for trials: the smallest of everything, and nothing is kept when it is destroyed.
environment = "dev"

# Its own network. To use yours instead:
#   create_network      = false
#   vpc_id              = "vpc-..."
#   private_subnet_ids  = ["subnet-...", "subnet-..."] # exactly two, with a route to the internet
#   database_subnet_ids = ["subnet-...", "subnet-..."] # default: the same
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
