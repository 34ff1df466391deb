"""What Airflow runs: operators, triggers, callbacks, retries, links, and where credentials come from.

May import `cd2.notification`, `cd2.replication` and `cd2.settings`; heavy packages only inside functions.
"""
