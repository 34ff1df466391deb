"""A database over a direct connection: your own, or the local stack's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from scripts.prepare_database.sessions import Login, PreparationError, Refused, Row

CA_BUNDLE = Path(__file__).resolve().parents[2] / "plugins" / "cd2" / "rds-global-bundle.pem"
LOCAL_HOSTS = {"", "localhost", "127.0.0.1", "::1"}
CONNECT_TIMEOUT_S = 20


class DirectDatabase:
    """A database that this machine can reach.

    :param dsn: of the administrator, in libpq's form (a URL, or `host=... dbname=...`).
    :raises PreparationError: it is not a DSN, or names no database.
    """

    def __init__(self, dsn: str) -> None:
        try:
            self._parameters = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            raise PreparationError(
                "The DSN is not valid: it must look like postgresql://admin@host:5432/database?sslmode=verify-full, "
                "with special characters of the password percent-encoded."
            ) from None
        if not self._parameters.get("dbname"):
            raise PreparationError("The DSN names no database: add /database at its end.")
        host = str(self._parameters.get("host") or "")
        if host not in LOCAL_HOSTS and not host.startswith("/"):
            # libpq's default would fall back to no TLS
            self._parameters.setdefault("sslmode", "verify-full")
            self._parameters.setdefault("sslrootcert", str(CA_BUNDLE))
        self.dbname = str(self._parameters["dbname"])
        self.name = f"the database {self.dbname} on {host or 'this machine'}"

    @contextmanager
    def as_admin(self) -> Iterator[_DirectSession]:
        with self._transaction({}) as session:
            yield session

    @contextmanager
    def as_user(self, login: Login) -> Iterator[_DirectSession]:
        with self._transaction({"user": login.username, "password": login.password}) as session:
            yield session

    @contextmanager
    def _transaction(self, changes: dict[str, str]) -> Iterator[_DirectSession]:
        parameters: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, **self._parameters, **changes}
        # Otherwise psycopg returns bytes from a database of SQL_ASCII.
        parameters["client_encoding"] = "UTF8"
        try:
            connection = psycopg.connect(**parameters, application_name="cd2 prepare_database")
        except psycopg.OperationalError as error:
            failure = self._not_connected(error)
        else:
            with connection:
                yield _DirectSession(connection)
            return
        raise failure

    def _not_connected(self, error: psycopg.OperationalError) -> Exception:
        reason = str(error).strip().splitlines()[-1].rpartition("FATAL:  ")[2].strip()
        if "authentication failed" in str(error):
            return Refused("28P01", reason)
        if "not permitted to log in" in str(error) or "no password supplied" in str(error):
            return Refused("28000", reason)
        return PreparationError(
            f"{self.name} cannot be reached ({reason}): check host, port, network, security group and sslmode."
        )


class _DirectSession:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, statement: str, **values: str) -> list[Row]:
        """See `Session`."""
        try:
            # Without values psycopg leaves percent signs alone.
            cursor = self._connection.execute(statement.encode(), values or None)
            return list(cursor.fetchall()) if cursor.description else []
        except psycopg.Error as error:
            failure = self._failure(error)
        raise failure

    def _failure(self, error: psycopg.Error) -> Exception:
        if error.sqlstate:
            return Refused(error.sqlstate, error.diag.message_primary or type(error).__name__)
        return PreparationError(f"The connection to the database was lost ({type(error).__name__}): try again.")
