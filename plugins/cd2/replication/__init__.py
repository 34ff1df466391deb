"""How a Canvas Data 2 table is replicated into PostgreSQL. Imports no Airflow; usable and tested without it."""
