# Survives the loss of a zone; database and bucket are protected against accidental deletion.
environment = "prod"

# Its own network; environments/dev.tfvars shows how to use yours.
create_network       = true
nat_gateway_per_zone = true

# Who gets notifications and alarms.
alert_emails = []

max_workers = 3

database_min_capacity          = 0.5
database_max_capacity          = 16
database_instances             = 2
database_backup_retention_days = 14
log_retention_days             = 365

settings = {
  namespaces = "canvas"
}
