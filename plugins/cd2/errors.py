"""Every failure that the service, the data or the database can hand us, as one of five kinds.

A kind says what happens next (docs/operations.md tells people the same):

====================  ==========================================================================================
class                 what the DAG does
====================  ==========================================================================================
TransientError        the task fails and Airflow retries it after a while
WaitError             the same, after at least the time the service asked for
ReinitRequired        the table is initialised again in the same run
TableFailure          the table fails at once: a retry would meet the same; a person must act
StopAll               as TableFailure, and every other table would meet it too (credentials, account, database)
====================  ==========================================================================================

Exceptions are recognised by the names of their classes and by their codes (DAP `type`, HTTP status, SQLSTATE), because
that is what stays the same between versions, and so that this module imports neither dap nor asyncpg.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cd2.results import ErrorInfo, TableResult


class Cd2Error(Exception):
    """A failure in our own words.

    :param message: what is wrong, where, and what to do; free of secrets, addresses with signatures and row values.
    :param cause: class name of the original exception.
    :param type: DAP's machine-readable error type, or the SQLSTATE.
    :param uuid: DAP's identifier of the failure, which Instructure's support asks for.

    `result` is the failed table's result so far, where the failure is one table's.
    """

    result: TableResult | None = None

    def __init__(
        self, message: str, *, cause: str | None = None, type: str | None = None, uuid: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.type = type
        self.uuid = uuid

    @property
    def info(self) -> ErrorInfo:
        """The error as results and notifications carry it."""
        return ErrorInfo(self.cause or type(self).__name__, self.message, self.type, self.uuid)


class TransientError(Cd2Error):
    """Passes by itself: try again."""


class WaitError(TransientError):
    """The service asks us to wait: try again, later.

    :param seconds: how long at least.
    """

    def __init__(self, message: str, *, seconds: float = 60.0, **details: str | None) -> None:
        super().__init__(message, **details)
        self.seconds = seconds


class ReinitRequired(Cd2Error):
    """The table's increments are no longer to be had: it needs a new snapshot."""


class TableFailure(Cd2Error):
    """Will fail again until somebody acts."""


class StopAll(TableFailure):
    """Concerns every table, not just this one."""


KINDS: dict[str, type[Cd2Error]] = {
    kind.__name__: kind for kind in (TransientError, WaitError, ReinitRequired, TableFailure, StopAll)
}


def to_json(error: Cd2Error) -> dict[str, str | None]:
    """An error as one process hands it to another; a more special class becomes one of the five kinds."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in (*KINDS, "Cd2Error"))
    return {"kind": kind, "message": error.message, "cause": error.cause, "type": error.type, "uuid": error.uuid}


def from_json(data: Mapping[str, str | None]) -> Cd2Error:
    """What `to_json` gave."""
    kind = KINDS.get(data["kind"] or "", TransientError)
    return kind(data["message"] or "", cause=data["cause"], type=data["type"], uuid=data["uuid"])


@dataclass(frozen=True)
class Rule:
    """`kind` and `advice` for exceptions of a class name, optionally only with this code (a prefix of the SQLSTATE)."""

    exception: str
    code: str
    kind: type[Cd2Error]
    advice: str


# First match wins. `exception` matches any class in the exception's MRO.
RULES: tuple[Rule, ...] = (
    # -- the DAP service, by the `type` in its error envelope ------------------------------------------------------
    Rule(
        "OperationError",
        "SnapshotRequired",
        ReinitRequired,
        "The table was reloaded: it needs a new snapshot.",
    ),
    Rule(
        "OperationError",
        "OutOfRange",
        ReinitRequired,
        "Changes are kept for a while only: a new snapshot is needed.",
    ),
    Rule(
        "OperationError",
        "AuthenticationError",
        StopAll,
        "DAP refused the credentials: check client id and secret (connection cd2_dap, or the SSM parameters).",
    ),
    Rule(
        "OperationError",
        "AccountDisabled",
        StopAll,
        "Instructure has disabled DAP for this account: ask Instructure's support, with type and uuid.",
    ),
    Rule(
        "OperationError",
        "AccountNotOnboarded",
        StopAll,
        "This account is not yet enabled for DAP: ask Instructure's support, with type and uuid.",
    ),
    Rule(
        "OperationError",
        "AccountUnderMaintenance",
        WaitError,
        "Instructure is maintaining this account: the next run tries again.",
    ),
    Rule(
        "OperationError",
        "RequestTypeForbidden",
        TableFailure,
        "DAP refuses this kind of request for now (repeated snapshots may be): ask support before trying again.",
    ),
    Rule(
        "OperationError",
        "NotFound",
        TableFailure,
        "DAP does not know this table, job or object (any more): the next run lists the tables anew.",
    ),
    Rule("OperationError", "ValidationError", TableFailure, "DAP did not understand the request: report this."),
    Rule("AuthenticationError", "", StopAll, "DAP refused the credentials: check client id and secret."),
    Rule("OperationError", "", TransientError, "DAP could not process the request: it is tried again."),
    Rule("ServerError", "", TransientError, "DAP answered with a server error: it is tried again."),
    Rule("GatewayTimeoutError", "", TransientError, "DAP's gateway timed out: it is tried again."),
    Rule("DownloadError", "", TransientError, "An object could not be downloaded: it is tried again."),
    Rule("DAPClientError", "", TransientError, "The DAP job or answer was not as expected: it is tried again."),
    # -- the network -----------------------------------------------------------------------------------------------
    Rule(
        "ClientResponseError",
        "",
        TransientError,
        "A download was refused (its address expires): it is tried again.",
    ),
    Rule("ClientError", "", TransientError, "The DAP service could not be reached: it is tried again."),
    # -- PostgreSQL, by SQLSTATE -----------------------------------------------------------------------------------
    Rule("PostgresError", "28", StopAll, "PostgreSQL refused the log-in: check user and password."),
    Rule(
        "PostgresError",
        "3D",
        StopAll,
        "This database does not exist on the server: check the database's name.",
    ),
    Rule(
        "PostgresError",
        "42501",
        TableFailure,
        "The replication role lacks a right: grant it what is named here.",
    ),
    Rule("PostgresError", "08", TransientError, "The connection to PostgreSQL was lost: it is tried again."),
    Rule(
        "PostgresError",
        "40",
        TransientError,
        "PostgreSQL rolled back because of another session: it is tried again.",
    ),
    Rule("PostgresError", "53100", StopAll, "The database's disk is full: give it more room."),
    Rule("PostgresError", "53", TransientError, "PostgreSQL is short of resources: it is tried again."),
    Rule("PostgresError", "55", TransientError, "Another session holds a lock: it is tried again."),
    Rule("PostgresError", "57", TransientError, "PostgreSQL is being stopped or started: it is tried again."),
    Rule(
        "PostgresError",
        "0A000",
        TableFailure,
        "The table's schema changed, and another object that uses it stands in the way: drop it, clear the task.",
    ),
    Rule(
        "PostgresError",
        "2BP01",
        TableFailure,
        "The table's schema changed, and another object that uses it stands in the way: drop it, clear the task.",
    ),
    Rule(
        "PostgresError",
        "22",
        TableFailure,
        "A value does not fit its column: report this table to Instructure.",
    ),
    Rule(
        "PostgresError",
        "23",
        TableFailure,
        "Rows break a constraint of the table (duplicate key or missing value).",
    ),
    Rule("PostgresError", "", TableFailure, "PostgreSQL refused a statement."),
    Rule("InterfaceError", "", TransientError, "The connection to PostgreSQL was lost: it is tried again."),
    # -- Python's own ----------------------------------------------------------------------------------------------
    Rule(
        "SSLError",
        "",
        StopAll,
        "PostgreSQL's certificate was not accepted: check database_sslmode and sslrootcert.",
    ),
    Rule("TimeoutError", "", TransientError, "A time limit was reached: it is tried again."),
    Rule("OSError", "", TransientError, "A connection failed: it is tried again."),
    Rule(
        "ValueError",
        "",
        TableFailure,
        "The data is not as its schema says; the value is not shown, as it may be private.",
    ),
)
_COPY_CONTEXT = re.compile(r"^COPY [^,]+, line (\d+)(?:, column ([^:]+))?")
_UNKNOWN = Rule("Exception", "", TransientError, "An unforeseen failure: it is tried again.")


def classify(exception: BaseException, where: str) -> Cd2Error:
    """Say in our words what happened.

    :param exception: what was caught; its cause is looked at too, because libraries wrap what they do not know.
    :param where: what was being done, for the beginning of the sentence: `canvas.users: sync`.
    :returns: the error to raise or to report. A `Cd2Error` is handed back as it is.
    """
    if isinstance(exception, Cd2Error):
        return exception
    chain = _chain(exception)
    original, rule = next(
        ((candidate, rule) for rule in RULES for candidate in chain if _matches(candidate, rule)),
        (exception, _UNKNOWN),
    )
    name = type(original).__name__
    detail = _detail(original)
    message = f"{where} failed: {rule.advice} ({name}{': ' + detail if detail else ''})"
    return rule.kind(
        message,
        cause=name,
        type=_text(original, "type") or _text(original, "sqlstate"),
        uuid=_text(original, "uuid"),
    )


def _chain(exception: BaseException) -> list[BaseException]:
    """The exception and its causes: pysqlsync wraps PostgreSQL's errors, and only the cause has a code."""
    chain = [exception]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _matches(exception: BaseException, rule: Rule) -> bool:
    if rule.exception not in {cls.__name__ for cls in type(exception).__mro__}:
        return False
    code = _text(exception, "sqlstate") or _text(exception, "type") or ""
    return code.startswith(rule.code)


def _detail(exception: BaseException) -> str:
    """What may be quoted of the original text: only what comes from sources that quote no row value or signed URL."""
    if _text(exception, "uuid"):
        return _text(exception, "message") or ""
    if sqlstate := _text(exception, "sqlstate"):
        # SQLSTATE classes 22 and 23 quote values in their texts; the others name tables, columns, roles.
        return _place(exception) if sqlstate.startswith(("22", "23")) else str(exception).split("\n")[0]
    if status := getattr(exception, "status", None):
        return f"HTTP {status}"
    if isinstance(exception, OSError):
        return exception.strerror or str(exception)
    return ""


def _place(exception: BaseException) -> str:
    """Where in the data the error is, without the data: `column sis_id, line 17`."""
    parts = [f"{name} {value}" for name in ("column", "constraint") if (value := _text(exception, f"{name}_name"))]
    if copying := _COPY_CONTEXT.search(_text(exception, "context") or ""):
        line, column = copying.groups()
        parts += [f"column {column}"] if column and not parts else []
        parts.append(f"line {line} of an object")
    return ", ".join(parts)


def _text(exception: BaseException, attribute: str) -> str | None:
    value = getattr(exception, attribute, None)
    return value if isinstance(value, str) and value else None
