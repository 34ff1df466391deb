"""Whole runs in a real Airflow."""
