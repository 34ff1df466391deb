"""A data dictionary of the replica: one static HTML file, made from PostgreSQL's catalog. It holds no value of any row.

May import `cd2.replication`. The DAG's `notify` and `make dictionary` use it; it knows neither Airflow nor AWS.
"""
