"""The databases of a stack, on any PostgreSQL server: Airflow's metadata and the replica, with a role each."""

from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

METADATA = "airflow"
"""Name of Airflow's database, and of its role."""
REPLICA = "cd2"
"""Name of the replica's database, and of the role that the DAG uses."""


class PostgresServer:
    """A PostgreSQL server of which we are the superuser.

    :raises psycopg.Error: by the methods that talk to it.
    """

    superuser = "postgres"

    def __init__(self, host: str, port: int, password: str) -> None:
        self.host, self.port, self._password = host, port, password

    @property
    def password(self) -> str:
        """The superuser's."""
        return self._password

    def dsn(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """``postgresql://user:password@host:port/database``; the superuser's unless told."""
        user, password = (self.superuser, self.password) if user is None else (user, password or "")
        return f"postgresql://{quote(user)}:{quote(password)}@{self.host}:{self.port}/{quote(database)}"

    def execute(self, statement: sql.SQL | sql.Composed, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser, committed at once; returns its rows, if it has any."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create_role(self, name: str, password: str, options: str = "") -> None:
        """Make a role that may log in, or give an existing one this password.

        :param options: further role options, e.g. ``CREATEDB``.
        """
        known = self.execute(sql.SQL("SELECT 1 FROM pg_roles WHERE rolname = {}").format(name))
        self.execute(
            sql.SQL("{} ROLE {} LOGIN PASSWORD {} " + options).format(
                sql.SQL("ALTER" if known else "CREATE"), sql.Identifier(name), sql.Literal(password)
            )
        )

    def create_database(self, name: str, owner: str | None = None) -> None:
        """Make a database unless it exists."""
        if not self.execute(sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(name)):
            owned = sql.SQL(" OWNER {}").format(sql.Identifier(owner)) if owner else sql.SQL("")
            self.execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), owned))

    def drop_database(self, name: str) -> None:
        """Drop a database, ending its sessions, if it exists."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def prepare(server: PostgresServer, metadata_password: str, replica_password: str) -> None:
    """Make what is missing of the two databases and their roles, and set the passwords. Harmless twice."""
    server.create_role(METADATA, metadata_password)
    server.create_database(METADATA, owner=METADATA)
    server.create_role(REPLICA, replica_password)
    server.create_database(REPLICA)
    # no more than the role of the DAG has on AWS
    server.execute(sql.SQL("GRANT CREATE, CONNECT ON DATABASE {0} TO {0}").format(sql.Identifier(REPLICA)))
