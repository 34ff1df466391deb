"""Passwords as PostgreSQL keeps them, so that the plain one never travels in a statement."""

from __future__ import annotations

from psycopg import pq


def scram_verifier(user: str, password: str) -> str:
    r"""What `ALTER ROLE ... PASSWORD` takes in place of the password, with a new salt each time.

    Made by libpq, as psql's `\password` does. A server's log, pg_stat_activity or CloudTrail that showed it would not
    show the password.
    """
    # libpq asks for a connection, but not for one that stands.
    unconnected = pq.PGconn.connect_start(b"host=/nowhere")
    return unconnected.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
