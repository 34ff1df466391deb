"""Passwords in the form that PostgreSQL stores, so that no statement holds the plain text."""

from __future__ import annotations

from psycopg import pq


def scram_verifier(user: str, password: str) -> str:
    r"""What `ALTER ROLE ... PASSWORD` accepts instead of the password, with a new salt each time.

    Computed by libpq, as for psql's `\password`. If it appears in a server log, in pg_stat_activity or CloudTrail, the
    password does not.
    """
    # libpq requires a connection object, but it need not be connected.
    unconnected = pq.PGconn.connect_start(b"host=/nowhere")
    return unconnected.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
