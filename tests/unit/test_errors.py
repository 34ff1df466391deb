"""Every failure becomes one of five kinds, with a sentence, and without secrets or row values."""

import ast
import json
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from dap import dap_error
from dap.api import DAPClientError, DownloadError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from cd2.notification.message import compose
from cd2.notification.summary import RunSummary
from cd2.replication.errors import (
    Cd2Error,
    RefusedCredentials,
    ReinitRequired,
    StopAll,
    TableFailure,
    TransientError,
    WaitError,
    from_json,
    to_json,
    without_retry,
    without_table,
)
from cd2.replication.failures import RULES, classify
from cd2.replication.names import TableName
from cd2.replication.results import TableResult, Verification
from cd2.tasks.retries import JITTER, PATIENCE_S, delay_s

REPOSITORY = Path(__file__).parents[2]
SIGNED_URL = "https://bucket.example/object.gz?X-Amz-Signature=abc123"


def operation_error(cls: Callable[..., Exception], type_: str, **more: object) -> Exception:
    return cls(type=type_, uuid="u-1", message="words of the service", **more)


def expired_download() -> aiohttp.ClientResponseError:
    url = URL(SIGNED_URL)
    headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
    request = aiohttp.RequestInfo(url, "GET", headers, url)
    return aiohttp.ClientResponseError(request, (), status=403, message="Forbidden")


def postgres_error(cls: type[asyncpg.PostgresError], text: str) -> asyncpg.PostgresError:
    return cls(text)


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        (operation_error(dap_error.OutOfRangeError, "SnapshotRequired", since=None, until=None), ReinitRequired),
        (operation_error(dap_error.OutOfRangeError, "OutOfRange", since=None, until=None), ReinitRequired),
        (operation_error(dap_error.SnapshotRequiredError, "SnapshotRequired", since=None, until=None), ReinitRequired),
        (operation_error(dap_error.AuthenticationError, "AuthenticationError"), RefusedCredentials),
        (operation_error(dap_error.AuthenticationError, "com.example.Unauthorized"), RefusedCredentials),
        (operation_error(dap_error.AccountDisabledError, "AccountDisabled"), StopAll),
        (operation_error(dap_error.AccountNotOnboardedError, "AccountNotOnboarded"), StopAll),
        (operation_error(dap_error.AccountUnderMaintenanceError, "AccountUnderMaintenance"), WaitError),
        (operation_error(dap_error.RequestTypeForbiddenError, "RequestTypeForbidden"), TableFailure),
        (operation_error(dap_error.NotFoundError, "NotFound", id="x", kind="table"), TableFailure),
        (operation_error(dap_error.ProcessingError, "ProcessingError"), TransientError),
        (dap_error.ServerError({"anything": 1}), TransientError),
        (DownloadError("failed"), TransientError),
        (DAPClientError("Query job ended with status: failed"), TransientError),
        (expired_download(), TransientError),
        (aiohttp.ServerDisconnectedError(), TransientError),
        (postgres_error(asyncpg.InvalidPasswordError, "password authentication failed"), RefusedCredentials),
        (postgres_error(asyncpg.InvalidCatalogNameError, 'database "x" does not exist'), StopAll),
        (postgres_error(asyncpg.InsufficientPrivilegeError, "permission denied for table users"), TableFailure),
        (postgres_error(asyncpg.DeadlockDetectedError, "deadlock detected"), TransientError),
        (postgres_error(asyncpg.DiskFullError, "could not extend file"), StopAll),
        (postgres_error(asyncpg.CannotConnectNowError, "starting up"), TransientError),
        (postgres_error(asyncpg.DependentObjectsStillExistError, "view v depends on column"), TableFailure),
        (postgres_error(asyncpg.UniqueViolationError, "Key (id)=(4711) already exists"), TableFailure),
        (postgres_error(asyncpg.SyntaxOrAccessError, "what"), TableFailure),
        (ssl.SSLCertVerificationError("bad"), StopAll),
        (TimeoutError(), TransientError),
        (ConnectionRefusedError(111, "Connection refused"), TransientError),
        (ValueError("invalid value: Jane Doe"), TableFailure),
        (RuntimeError("never seen: Jane Doe"), TransientError),
    ],
    ids=lambda value: getattr(value, "type", None) or getattr(value, "__name__", type(value).__name__),
)
def test_each_failure_has_its_kind_and_a_sentence(exception: Exception, kind: type[Cd2Error]) -> None:
    error = classify(exception, "canvas.users: sync")
    assert type(error) is kind
    assert error.message.startswith("canvas.users: sync failed: ")
    for private in ("Jane Doe", "4711", "X-Amz-Signature", "abc123"):
        assert private not in error.message


def test_type_and_uuid_of_the_service_are_kept_for_support() -> None:
    error = classify(operation_error(dap_error.ProcessingError, "ProcessingError"), "x")
    assert (error.info.name, error.info.type, error.info.uuid) == ("ProcessingError", "ProcessingError", "u-1")
    assert "words of the service" in error.message


def test_the_cause_of_a_wrapped_database_error_decides() -> None:
    wrapper = RuntimeError("error executing query: ALTER TABLE ...")
    wrapper.__cause__ = postgres_error(asyncpg.FeatureNotSupportedError, "cannot alter type of a column used by a view")
    error = classify(wrapper, "canvas.users: sync")
    assert type(error) is TableFailure
    assert "another object that uses the table blocks it" in error.message
    assert error.type == "0A000"


def test_our_own_errors_are_kept_as_they_are() -> None:
    error = StopAll("said already")
    assert classify(error, "x") is error


def promises() -> list[str]:
    """What our code says that mentions a retry or another try."""
    texts = []
    for path in sorted((REPOSITORY / "plugins").rglob("*.py")):
        tree = ast.parse(path.read_text())
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and isinstance(node.body[0], ast.Expr)
        }
        texts += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
        ]
    return [text for text in texts if re.search(r"[Ii]t will be retried|the retry asks", text)]


def test_no_sentence_promises_a_retry_once_there_is_none() -> None:
    found = promises()
    assert len(found) > 30
    for text in found:
        last = without_retry(text)
        assert "will be" not in last
        assert "the retry asks" not in last
        assert last.endswith("Clear the task, or wait for the next run.")


@pytest.mark.parametrize(
    ("message", "last"),
    [
        (
            "canvas.users: sync failed: A time limit was reached: it will be retried. (TimeoutError)",
            "canvas.users: sync failed: A time limit was reached: no retry is left. (TimeoutError) Clear the task, or "
            "wait for the next run.",
        ),
        (
            "DAP answered 500. It will be retried; if it lasts, say so.",
            "DAP answered 500. No retry is left; if it lasts, say so. Clear the task, or wait for the next run.",
        ),
        ("The disk is full: add space.", "The disk is full: add space."),
    ],
)
def test_the_last_failure_says_what_to_do(message: str, last: str) -> None:
    failure = TransientError(message)
    failure.is_last()
    assert failure.message == str(failure) == last
    failure.is_last()
    assert failure.message == last


def test_who_does_not_know_whether_a_try_follows_promises_none_for_sure() -> None:
    for text in promises():
        told = TransientError(text).undecided
        assert "will be retried" not in told
        assert "the retry asks" not in told
    maintained = TransientError("DAP is maintained: it will be retried after 20 to 30 minutes.")
    assert maintained.undecided == "DAP is maintained: it is retried, unless this was the last try."
    assert TransientError("The disk is full: add space.").undecided == "The disk is full: add space."


def test_maintenance_says_how_long_is_waited() -> None:
    failure = classify(operation_error(dap_error.AccountUnderMaintenanceError, "AccountUnderMaintenance"), "x")
    least, most = PATIENCE_S // 60, PATIENCE_S * (1 + JITTER) // 60
    assert f"it will be retried after {least:.0f} to {most:.0f} minutes" in failure.message
    assert "no retry is left." in without_retry(failure.message)
    assert all(PATIENCE_S <= delay_s(failure, 1) <= PATIENCE_S * (1 + JITTER) for _ in range(100))


NAME, OTHER = TableName("canvas", "users"), TableName("canvas_logs", "web_logs")
NAMED = re.compile(r"\b(?:canvas|canvas_logs)\.\w+: ")
WHERES = ("{}: sync", "{}: asking DAP", "{}: verification", "{}: reading its cursor")


def failures_of(table: TableName) -> list[Cd2Error]:
    """Every meaning of an exception at every place where a table meets it, and a sentence of our own of every kind."""
    kinds = {rule.kind for rule in RULES} | {Cd2Error}
    own = [kind(f"{table}: it is not as it should be: it will be retried.") for kind in kinds]
    classified = [
        rule.kind(f"{where.format(table)} failed: {rule.advice} (Cause: what it said)")
        for rule in RULES
        for where in WHERES
    ]
    return own + classified


def every_text_about(table: TableName, failure: Cd2Error) -> list[str]:
    """What people read about the failure of a table: log, result, mail, and chat."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    failed = TableResult(table, "sync", "failed", error=failure.info)
    not_verified = Verification("refused", reason=without_table(failure.message))
    unverified = TableResult(table, "sync", "complete", verification=not_verified)
    texts = [failure.message, failure.undecided, without_retry(failure.message), f"{table}: {not_verified}"]
    for result in (failed, unverified):
        summary = RunSummary("dev", "run", now, now, (result,))
        texts += compose(summary).body.splitlines()
        texts.append(compose(summary).subject)
        texts += json.loads(compose(summary, "chatbot").body)["content"]["description"].splitlines()
    return texts


def test_no_text_names_a_table_twice_in_front_of_a_sentence_or_another_table() -> None:
    for met in failures_of(OTHER):
        passed_on = from_json(to_json(met)).met_by(NAME)
        again = classify(passed_on, f"{NAME}: asking DAP")
        assert type(again) is type(from_json(to_json(met)))
        for text in every_text_about(NAME, again):
            assert len(NAMED.findall(text)) <= 1, text
            assert str(OTHER) not in text, text
        assert met.message.startswith(str(OTHER)), "the failure of the table that met it stays its own"


@pytest.mark.parametrize(
    "message", ["DAP answered 401 for /ids/auth/login: check it.", "The secret x.y is empty: fill it."]
)
def test_a_failure_that_names_no_table_is_told_as_it_is(message: str) -> None:
    assert StopAll(message).met_by(NAME).message == without_table(message) == message
