"""What docker-compose.yaml runs beside Airflow itself: what `make run` does, for containers."""
