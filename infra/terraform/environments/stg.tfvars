# As prod, but smaller, and nothing is protected against being deleted.
environment = "stg"

# A network of its own; environments/dev.tfvars shows how to use yours.
create_network = true

# Who gets notifications and alarms.
alert_emails = []

database_min_capacity          = 0
database_max_capacity          = 8
database_backup_retention_days = 7

settings = {
  namespaces = "canvas"
}
