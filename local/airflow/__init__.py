"""Airflow as the local stack and Docker run it: the settings that both share, and a client of its REST API.

Knows nothing of the stack that runs it; imports only `local.errors` and `local.settings`.
"""
