"""What the preparation needs from a database, through the RDS Data API or a direct connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = Sequence[Any]

WRONG_PASSWORD = ("28P01", "28000")


class PreparationError(Exception):
    """What is wrong, where, and what to do; without secrets."""


class Refused(Exception):
    """PostgreSQL refused a statement or a login.

    :param sqlstate: the error's code.
    :param reason: the first line of its text, which quotes no value.
    """

    def __init__(self, sqlstate: str, reason: str) -> None:
        super().__init__(f"{reason} ({sqlstate})")
        self.sqlstate = sqlstate
        self.reason = reason


@dataclass(frozen=True)
class Login:
    """The replication user, from its secret."""

    host: str
    port: int
    dbname: str
    username: str
    password: str = field(repr=False)

    @classmethod
    def from_json(cls, text: str, source: str) -> Login:
        """Parse the secret, as the DAG does.

        :param source: where the text is from, for messages.
        :raises PreparationError: it is not JSON with host, port, dbname, username, password.
        """
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise PreparationError(f"{source} is not a JSON object with host, port, dbname, username and password.")
        missing = [key for key in ("host", "dbname", "username", "password") if not isinstance(values.get(key), str)]
        missing += [key for key in ("host", "dbname", "username", "password") if values.get(key) == ""]
        if missing:
            raise PreparationError(f"{source} lacks {', '.join(missing)}: complete it.")
        port = str(values.get("port") or 5432)
        if not port.isdecimal():
            raise PreparationError(f"{source} has the port {port!r}: it must be a number, usually 5432.")
        return cls(values["host"], int(port), values["dbname"], values["username"], values["password"])


class Session(Protocol):
    """One transaction."""

    def rows(self, statement: str, **values: str) -> list[Row]:
        """Run a statement; returns its rows, as text, whole numbers and booleans.

        :param statement: `%(name)s` is a placeholder for a value.
        :raises Refused: PostgreSQL refused.
        :raises PreparationError: the database could not be reached.
        """
        ...


class Database(Protocol):
    """A database, with sessions of its administrator and of the replication user."""

    name: str

    def as_admin(self) -> AbstractContextManager[Session]:
        """A transaction of the administrator: committed at the end, rolled back on an exception.

        :raises Refused, PreparationError: see `Session.rows`.
        """
        ...

    def as_user(self, login: Login) -> AbstractContextManager[Session]:
        """A transaction of the replication user.

        :raises Refused: for example with WRONG_PASSWORD.
        """
        ...
