"""How a Canvas Data 2 table is replicated into PostgreSQL; usable and tested without Airflow.

Imports no Airflow, and nothing from the packages above it. Read `replicator` first.
"""
