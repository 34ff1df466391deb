"""docker-compose.yaml: the real Compose program parses it, its services run as processes."""
