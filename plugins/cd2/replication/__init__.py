"""How a Canvas Data 2 table is replicated into PostgreSQL; usable and tested without Airflow.

Imports nothing of Airflow and nothing from the packages above it. `replicator` is the page to read first.
"""
