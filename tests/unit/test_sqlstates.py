"""What each of PostgreSQL's errors does, for the classes that a server uses when it is in trouble itself."""

from __future__ import annotations

import asyncpg
import pytest

from cd2.replication import errors
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from cd2.replication.failures import classify
from cd2.replication.sqlerrors.sqlstates import SQLSTATES

CLASSES = ("08", "25", "28", "53", "55", "57", "58", "XX")
TABLE: list[tuple[str, type[Cd2Error], str]] = [
    ("08000", TransientError, "connection to PostgreSQL was lost"),
    ("08001", TransientError, "connection to PostgreSQL was lost"),
    ("08003", TransientError, "connection to PostgreSQL was lost"),
    ("08004", TransientError, "connection to PostgreSQL was lost"),
    ("08006", TransientError, "connection to PostgreSQL was lost"),
    ("08007", TransientError, "connection to PostgreSQL was lost"),
    ("08P01", TransientError, "connection to PostgreSQL was lost"),
    ("25000", TransientError, "in the expected transaction"),
    ("25001", TransientError, "in the expected transaction"),
    ("25002", TransientError, "in the expected transaction"),
    ("25003", TransientError, "in the expected transaction"),
    ("25004", TransientError, "in the expected transaction"),
    ("25005", TransientError, "in the expected transaction"),
    ("25006", TransientError, "read-only: a failover"),
    ("25007", TransientError, "in the expected transaction"),
    ("25008", TransientError, "in the expected transaction"),
    ("25P01", TransientError, "in the expected transaction"),
    ("25P02", TransientError, "in the expected transaction"),
    ("25P03", TransientError, "idle_in_transaction_session_timeout"),
    ("25P04", TransientError, "transaction_timeout"),
    ("28000", TransientError, "as when Aurora wakes up"),
    ("28P01", StopAll, "refused the login: check user and password"),
    ("53000", TransientError, "short of resources"),
    ("53100", StopAll, "disk is full: add space"),
    ("53200", TransientError, "short of resources"),
    ("53300", TransientError, "All connections"),
    ("53400", TableFailure, "temp_file_limit"),
    ("55000", TableFailure, "not in a state"),
    ("55006", TransientError, "is in use"),
    ("55P02", TableFailure, "not in a state"),
    ("55P03", TransientError, "holds a lock"),
    ("55P04", TableFailure, "not in a state"),
    ("57000", TransientError, "shutting down or starting"),
    ("57014", TransientError, "statement_timeout"),
    ("57P01", TransientError, "shutting down or starting"),
    ("57P02", TransientError, "shutting down or starting"),
    ("57P03", TransientError, "shutting down or starting"),
    ("57P04", TransientError, "shutting down or starting"),
    ("57P05", TransientError, "idle_session_timeout"),
    ("58000", TransientError, "one of its files"),
    ("58030", TransientError, "one of its files"),
    ("58P01", TransientError, "one of its files"),
    ("58P02", TransientError, "one of its files"),
    ("58P03", TransientError, "one of its files"),
    ("XX000", TransientError, "internal error"),
    ("XX001", TransientError, "reports damaged data"),
    ("XX002", TransientError, "REINDEX"),
]


def raised(sqlstate: str, text: str = "words of the server") -> asyncpg.PostgresError:
    """What asyncpg raises for an error message of the server."""
    made = asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": text, "F": "postgres.c"})
    assert isinstance(made, asyncpg.PostgresError)
    return made


@pytest.mark.parametrize(("sqlstate", "kind", "told"), TABLE, ids=lambda value: getattr(value, "__name__", value))
def test_each_error_of_a_server_in_trouble_has_its_kind_and_its_sentence(
    sqlstate: str, kind: type[Cd2Error], told: str
) -> None:
    error = classify(raised(sqlstate), "canvas.users: sync")
    assert isinstance(error, kind)
    assert isinstance(error, StopAll) == (kind is StopAll)
    assert told in error.message
    assert error.type == sqlstate
    assert ("words of the server" in error.message) == (sqlstate != "XX000")  # see quoting.py
    assert ("will be retried" in error.message) == (kind is TransientError)


def test_the_table_has_every_code_that_asyncpg_knows() -> None:
    known = {
        cls.sqlstate
        for cls in vars(asyncpg.exceptions).values()
        if isinstance(cls, type) and issubclass(cls, asyncpg.PostgresError) and cls.sqlstate
    }
    assert {code for code in known if code.startswith(CLASSES) and len(code) == 5} <= {code for code, _, _ in TABLE}


@pytest.mark.parametrize("sqlstate", ["08P99", "25099", "28099", "53999", "57P99", "58999", "XX999"])
def test_a_code_of_tomorrow_is_worth_another_try(sqlstate: str) -> None:
    assert type(classify(raised(sqlstate), "x")) is TransientError


@pytest.mark.parametrize(
    "text",
    [
        'could not write to file "base/pgsql_tmp/pgsql_tmp4711.0": No space left on device',
        'could not extend file "base/pgsql_tmp/pgsql_tmp4711.0.sharedfileset/0.0"',
    ],
)
def test_one_table_without_space_for_temporary_files_does_not_stop_the_others(text: str) -> None:
    error = classify(raised("53100", text), "canvas.users: sync")
    assert type(error) is TransientError
    assert "temporary files" in error.message


@pytest.mark.parametrize("text", ["password authentication failed", "SASL authentication failed"])
def test_a_pooler_that_refuses_the_password_stops_like_a_server(text: str) -> None:
    assert isinstance(classify(raised("08P01", text), "x"), StopAll)


def test_every_meaning_has_a_kind() -> None:
    assert {meaning.kind for meaning in SQLSTATES} <= {
        "TransientError",
        "TableFailure",
        "RefusedCredentials",
        "StopAll",
    }
    assert all(issubclass(getattr(errors, meaning.kind), Cd2Error) for meaning in SQLSTATES)
