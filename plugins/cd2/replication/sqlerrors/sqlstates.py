"""What PostgreSQL's errors mean, by SQLSTATE: a table without imports, for `cd2.replication.failures`.

Only a refused password, a missing database and a full disk stop all tables. Everything else that a server says while
it wakes up, fails over or restarts is temporary: Aurora answers 28000 ("no pg_hba.conf entry") while it wakes up, and
25006 (read-only) after a failover. What lasts says in its sentence what to look at.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """What an error means.

    :param code: beginning of its SQLSTATE; empty: any.
    :param kind: name of the class in `cd2.replication.errors`.
    :param advice: what it means, and what to do, for people.
    :param quoting: part of its text; empty: any. Only for texts that PostgreSQL does not translate.
    """

    code: str
    kind: str
    advice: str
    quoting: str = ""


_BLOCKED = "The table's schema changed, and another object that uses the table blocks it: drop it, then clear the task."
_POOLER = "A connection pooler does not keep the session: use its session mode, or connect to the database itself."

SQLSTATES: tuple[Meaning, ...] = (
    # -- 08: connections. PgBouncer says everything with 08P01. ----------------------------------------------------
    Meaning(
        "08P01",
        "RefusedCredentials",
        "The connection pooler refused the login: check user and password.",
        "authentication",
    ),
    Meaning("08", "TransientError", "The connection to PostgreSQL was lost: it will be retried."),
    # -- 25: transactions ------------------------------------------------------------------------------------------
    Meaning(
        "25006",
        "TransientError",
        "The database is read-only: a failover is in progress, or the host is a standby or a reader, or "
        "default_transaction_read_only is set. It will be retried.",
    ),
    Meaning(
        "25P03",
        "TransientError",
        "PostgreSQL ended the session because of idle_in_transaction_session_timeout: it will be retried.",
    ),
    Meaning(
        "25P04", "TransientError", "PostgreSQL ended the session because of transaction_timeout: it will be retried."
    ),
    Meaning("25", "TransientError", "The session is not in the expected transaction: it will be retried."),
    Meaning("26", "TransientError", f"A prepared statement is gone. {_POOLER}"),
    # -- 28, 3D, 42501: who may come in ----------------------------------------------------------------------------
    Meaning("28P01", "RefusedCredentials", "PostgreSQL refused the login: check user and password."),
    Meaning(
        "28",
        "TransientError",
        "PostgreSQL accepts no logins yet, as when Aurora wakes up: it will be retried. If it lasts, check that the "
        "role exists and may log in, and check pg_hba.conf.",
    ),
    Meaning("3D", "StopAll", "The server has no such database: check the database name."),
    Meaning("42501", "TableFailure", "The replication role lacks a privilege: grant it."),
    Meaning("42P05", "TransientError", f"A prepared statement already exists. {_POOLER}"),
    Meaning(
        "40", "TransientError", "PostgreSQL rolled the transaction back because of another session: it will be retried."
    ),
    # -- 53: resources ---------------------------------------------------------------------------------------------
    Meaning(
        "53100",
        "TransientError",
        "The server has no space for temporary files: it will be retried. If it lasts, add space (on Aurora: a larger "
        "minimum capacity).",
        "pgsql_tmp",
    ),
    Meaning("53100", "StopAll", "The database's disk is full: add space."),
    Meaning("53300", "TransientError", "All connections of the server or of the role are in use: it will be retried."),
    Meaning("53400", "TableFailure", "A limit of the server or the role was reached (temp_file_limit?): raise it."),
    Meaning("53", "TransientError", "PostgreSQL is short of resources: it will be retried."),
    # -- 55: objects that are not as they should be ----------------------------------------------------------------
    Meaning("55P03", "TransientError", "Another session holds a lock: it will be retried."),
    Meaning("55006", "TransientError", "An object is in use: it will be retried."),
    Meaning(
        "55",
        "TableFailure",
        "An object of the table is not in a state that allows this: correct it, then clear the task.",
    ),
    # -- 57, 58, XX: the server itself -----------------------------------------------------------------------------
    Meaning(
        "57014", "TransientError", "A statement was canceled, by a person or by statement_timeout: it will be retried."
    ),
    Meaning(
        "57P05", "TransientError", "PostgreSQL ended the session because of idle_session_timeout: it will be retried."
    ),
    Meaning("57", "TransientError", "PostgreSQL is shutting down or starting: it will be retried."),
    Meaning(
        "58", "TransientError", "The server could not use one of its files: it will be retried. Its log says more."
    ),
    Meaning("XX001", "TransientError", "The server reports damaged data: it will be retried. If it lasts, restore."),
    Meaning("XX002", "TransientError", "The server reports a damaged index: it will be retried. If it lasts, REINDEX."),
    Meaning("XX", "TransientError", "PostgreSQL met an internal error: it will be retried. Its log says more."),
    # -- data and statements ---------------------------------------------------------------------------------------
    Meaning("0A000", "TableFailure", _BLOCKED),
    Meaning("2BP01", "TableFailure", _BLOCKED),
    Meaning(
        "22P04",
        "TableFailure",
        "A line of the data has more or fewer fields than its header: report this table to Instructure.",
    ),
    Meaning("22", "TableFailure", "A value does not fit its column: report this table to Instructure."),
    Meaning("23502", "TableFailure", "A row has no value where one is required: report this table to Instructure."),
    Meaning("23503", "TableFailure", "Rows would refer to rows that do not exist, and a foreign key forbids that."),
    Meaning("23505", "TableFailure", "Two rows have a value that must be unique."),
    Meaning("23514", "TableFailure", "A row violates a check constraint."),
    Meaning("23P01", "TableFailure", "Two rows conflict under an exclusion constraint."),
    Meaning("23", "TableFailure", "Rows violate a constraint of the table."),
    Meaning(
        "27000",
        "TableFailure",
        "A BEFORE trigger of a user changes rows of the same table that the load is changing: let it run AFTER each "
        "row, then clear the task.",
    ),
    Meaning(
        "54000",
        "TableFailure",
        "A value or a row is larger than PostgreSQL can hold (1 GB for a line, 256 MB for a text in JSON, 2.7 KB for "
        "an index, 8 KB for a row without its long values): drop indexes and columns that you added, shorten the value "
        "in Canvas, or skip this table ([cd2] skip_tables).",
    ),
    Meaning(
        "54001",
        "TableFailure",
        "A JSON value is nested more deeply than max_stack_depth of the server allows: raise that, shorten the value "
        "in Canvas, or skip this table ([cd2] skip_tables).",
    ),
    Meaning(
        "54011",
        "TableFailure",
        "The table would have more columns than PostgreSQL allows (1,600, of which a load needs two; dropped ones "
        "count): keep columns of your own in another table, then drop this one, and it is filled anew; or skip it "
        "([cd2] skip_tables).",
    ),
    Meaning(
        "428C9",
        "TableFailure",
        "A column of Canvas is GENERATED ALWAYS, because a user made it so, and refuses Canvas's values: drop the "
        "identity (ALTER COLUMN ... DROP IDENTITY) or the column, which comes back, then clear the task.",
    ),
    Meaning(
        "42725",
        "TableFailure",
        "A cast or an operator that a user created makes a comparison ambiguous: drop it (DROP CAST, DROP OPERATOR), "
        "then clear the task.",
    ),
    Meaning("", "TableFailure", "PostgreSQL rejected a statement."),
)
"""The first match wins."""
