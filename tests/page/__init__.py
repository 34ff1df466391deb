"""The page in Airflow, in a real browser."""
