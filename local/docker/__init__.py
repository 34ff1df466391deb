"""What docker-compose.yaml runs besides Airflow: preparation and health checks.

Imports only what the containers have: `local.airflow`, `local.aws`, `local.databases`, and the simulator.
"""
