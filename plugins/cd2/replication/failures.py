"""Turns exceptions of the DAP client, the network and PostgreSQL into our own errors.

An exception is recognized by its class and its code: DAP's `type`, or PostgreSQL's SQLSTATE, whose meanings are in
`cd2.replication.sqlerrors`, with the rule which of PostgreSQL's words may be quoted.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from types import TracebackType

import aiohttp
import asyncpg
from dap.api import DAPClientError, DownloadError
from dap.dap_error import AuthenticationError, GatewayTimeoutError, OperationError, ServerError

from cd2.replication import errors
from cd2.replication.errors import (
    Cd2Error,
    RefusedCredentials,
    ReinitRequired,
    StopAll,
    TableFailure,
    TransientError,
    WaitError,
)
from cd2.replication.sqlerrors.quoting import condition, quoted, raised_by_code
from cd2.replication.sqlerrors.sqlstates import SQLSTATES


@dataclass(frozen=True)
class Rule:
    """What an exception means.

    :param exception: its class, or a base class.
    :param code: beginning of its code; empty: any.
    :param advice: what it means, and what to do, for people.
    :param quoting: part of its text; empty: any.
    """

    exception: type[BaseException]
    code: str
    kind: type[Cd2Error]
    advice: str
    quoting: str = ""


RULES: tuple[Rule, ...] = (
    # -- the DAP service, by the `type` in its error envelope ------------------------------------------------------
    Rule(OperationError, "SnapshotRequired", ReinitRequired, "DAP has reloaded the table: it needs a new snapshot."),
    Rule(
        OperationError, "OutOfRange", ReinitRequired, "DAP no longer has these changes: the table needs a new snapshot."
    ),
    Rule(
        OperationError,
        "AuthenticationError",
        RefusedCredentials,
        "DAP refused the credentials: check client id and secret (connection cd2_dap, or the SSM parameters).",
    ),
    Rule(
        OperationError,
        "AccountDisabled",
        StopAll,
        "Instructure has disabled DAP for this account: contact Instructure's support with type and uuid.",
    ),
    Rule(
        OperationError,
        "AccountNotOnboarded",
        StopAll,
        "This account is not yet enabled for DAP: contact Instructure's support with type and uuid.",
    ),
    Rule(
        OperationError,
        "AccountUnderMaintenance",
        WaitError,
        "Instructure is maintaining this account: it will be retried after 20 to 30 minutes.",
    ),
    Rule(
        OperationError,
        "RequestTypeForbidden",
        TableFailure,
        "DAP refuses this kind of request for now, as it may do with repeated snapshots: ask Instructure's support "
        "before you try again.",
    ),
    Rule(
        OperationError,
        "NotFound",
        TableFailure,
        "DAP does not have this (anymore): the next run lists the tables again.",
    ),
    Rule(
        OperationError,
        "ValidationError",
        TableFailure,
        "DAP rejected the request as invalid: please report this as a bug.",
    ),
    Rule(AuthenticationError, "", RefusedCredentials, "DAP refused the credentials: check client id and secret."),
    Rule(OperationError, "", TransientError, "DAP could not process the request: it will be retried."),
    Rule(ServerError, "", TransientError, "DAP answered with a server error: it will be retried."),
    Rule(GatewayTimeoutError, "", TransientError, "DAP's gateway timed out: it will be retried."),
    Rule(DownloadError, "", TransientError, "An object could not be downloaded: it will be retried."),
    Rule(DAPClientError, "", TransientError, "DAP sent an unexpected job or response: it will be retried."),
    # -- the network -----------------------------------------------------------------------------------------------
    Rule(
        aiohttp.ClientProxyConnectionError,
        "",
        TransientError,
        "The proxy could not be reached: it will be retried. Check HTTPS_PROXY and NO_PROXY.",
    ),
    Rule(
        aiohttp.ClientHttpProxyError,
        "",
        TransientError,
        "The proxy refused the connection: it will be retried. Check HTTPS_PROXY, its login, and NO_PROXY.",
    ),
    Rule(
        aiohttp.ClientResponseError,
        "",
        TransientError,
        "A download was refused; its URL may have expired: it will be retried.",
    ),
    Rule(aiohttp.ClientError, "", TransientError, "The DAP service could not be reached: it will be retried."),
    # -- PostgreSQL ------------------------------------------------------------------------------------------------
    *(
        Rule(asyncpg.PostgresError, meaning.code, getattr(errors, meaning.kind), meaning.advice, meaning.quoting)
        for meaning in SQLSTATES
    ),
    Rule(asyncpg.InterfaceError, "", TransientError, "The connection to PostgreSQL was lost: it will be retried."),
    # -- Python's own ----------------------------------------------------------------------------------------------
    Rule(
        ssl.SSLCertVerificationError,
        "",
        StopAll,
        "PostgreSQL's certificate is not trusted: check database_sslmode and database_sslrootcert.",
    ),
    Rule(TimeoutError, "", TransientError, "A time limit was reached: it will be retried."),
    Rule(OSError, "", TransientError, "A connection failed: it will be retried."),
    Rule(
        ValueError,
        "",
        TableFailure,
        "The data does not match its schema. (The value is not shown: it may be private.)",
    ),
)
"""The first match wins."""
_OF_PEOPLE = Rule(
    asyncpg.PostgresError,
    "",
    TableFailure,
    "A user's trigger or function raised an error. (Its text is not shown: it may hold values of rows.)",
)
"""Its SQLSTATE means nothing: whoever wrote the function chose it."""
_UNKNOWN = Rule(Exception, "", TransientError, "An unexpected failure: it will be retried.")
_COPY_CONTEXT = re.compile(r"^COPY [^,]+, line (\d+)(?:, column ([^:]+))?")


class in_our_words:  # noqa: N801 - reads as what it does: with in_our_words("Listing the tables of canvas"):
    """Turns whatever the block raises into a `Cd2Error`.

    The original is dropped: its text and context may hold secrets, signed URLs or row values.

    :param where: what the block does, to begin the sentence: `canvas.users: sync`.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise the failure in our words.

        :raises Cd2Error: see `classify`.
        """
        if isinstance(error, Exception) and not isinstance(error, Cd2Error):
            raise classify(error, self._where) from None


def classify(exception: BaseException, where: str) -> Cd2Error:
    """Describe a failure in our words.

    :param exception: what was caught; its causes are examined too, because libraries wrap exceptions.
    :param where: what was being done, to begin the sentence: `canvas.users: sync`.
    :returns: the error to raise or to report; a `Cd2Error` is returned unchanged.
    """
    if isinstance(exception, Cd2Error):
        return exception
    chain = _chain(exception)
    original, rule = next(
        (
            (candidate, _OF_PEOPLE if raised_by_code(candidate) else rule)
            for rule in RULES
            for candidate in chain
            if _matches(candidate, rule)
        ),
        (exception, _UNKNOWN),
    )
    name = type(original).__name__
    detail = _detail(original)
    message = f"{where} failed: {rule.advice} ({name}{': ' + detail if detail else ''})"
    return rule.kind(
        message,
        cause=name,
        type=_text(original, "type") or condition(original),
        uuid=_text(original, "uuid"),
    )


def _chain(exception: BaseException) -> list[BaseException]:
    """The exception and its causes: pysqlsync wraps PostgreSQL's errors, and only the cause has the code."""
    chain = [exception]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _matches(exception: BaseException, rule: Rule) -> bool:
    code = _text(exception, "sqlstate") or _text(exception, "type") or ""
    return isinstance(exception, rule.exception) and code.startswith(rule.code) and rule.quoting in str(exception)


def _detail(exception: BaseException) -> str:
    """What may be quoted of the original text: only from sources that never quote row values or signed URLs."""
    if _text(exception, "uuid"):
        return _text(exception, "message") or ""
    if _text(exception, "sqlstate"):
        return quoted(exception) or ("" if raised_by_code(exception) else _place(exception))
    if status := getattr(exception, "status", None):
        return f"HTTP {status}"
    if isinstance(exception, aiohttp.ClientConnectorError):
        # The host may be the proxy, whose login is no part of it: nothing else shows which of them it is.
        return f"{exception.host}:{exception.port}: {exception.strerror or exception.os_error}"
    if isinstance(exception, OSError):
        return exception.strerror or str(exception)
    return ""


def _place(exception: BaseException) -> str:
    """Where in the data the error is, without the data itself: `column sis_id, line 17 of the job's rows`."""
    parts = [f"{name} {value}" for name in ("column", "constraint") if (value := _text(exception, f"{name}_name"))]
    if copying := _COPY_CONTEXT.search(_text(exception, "context") or ""):
        line, column = copying.groups()
        parts += [f"column {column}"] if column and not parts else []
        # Rows are written in batches, and a row that is too large shows only then, at a later line.
        if column or _text(exception, "sqlstate") != "54000":
            parts.append(f"line {line} of the job's rows")
    return ", ".join(parts)


def _text(exception: BaseException, attribute: str) -> str | None:
    value = getattr(exception, attribute, None)
    return value if isinstance(value, str) and value else None
