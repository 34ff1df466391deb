"""Give a database what the replication needs: its user, rights and schemas, and optionally a role for readers.

`python -m scripts.prepare_database --help`; docs/deploy.md shows an example. Idempotent.
"""
