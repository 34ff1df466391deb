"""Give a database what the replication needs: its user, its rights, its schemas, and readers if wanted.

`python -m scripts.prepare_database --help`; docs/deploy.md shows it at work. Idempotent: what is right stays untouched.
"""
