"""The commands that deploy, and what they find in a real Airflow."""
