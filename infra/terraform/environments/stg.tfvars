# Like prod, but smaller, and without deletion protection.
environment = "stg"

# Its own network; environments/dev.tfvars shows how to use yours.
create_network = true

# Who gets notifications and alarms.
alert_emails = []

database_min_capacity          = 0
database_max_capacity          = 8
database_backup_retention_days = 7

settings = {
  namespaces = "canvas"
}
