"""A database through the RDS Data API: HTTPS with AWS credentials, no network path to the database.

A secret decides who logs in: the managed secret of the administrator, or the secret of the replication user, so that
its login can be tested too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import client, code_of, explain
from scripts.prepare_database.sessions import Login, PreparationError, Refused, Row

T = TypeVar("T")

RESUME_TIMEOUT_S = 180.0
"""A paused Aurora takes about 15 s to resume; more than 30 s after over a day."""
RESUME_INTERVAL_S = 3.0
_SQLSTATE = re.compile(r"(?:; Position: *\d+)?;? *SQLState: *(\w{5})", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_SEVERITY = re.compile(r"^(?:ERROR|FATAL): *")


class DataApiDatabase:
    """An Aurora cluster's database.

    :param cluster: ARN of the cluster.
    :param admin_secret: ARN of its administrator's secret.
    :param user_secret: name or ARN of the replication user's secret.
    :param dbname: the database.
    :param tell: called with a line of progress.
    """

    def __init__(
        self,
        cluster: str,
        admin_secret: str,
        user_secret: str,
        dbname: str,
        region: str | None = None,
        tell: Callable[[str], None] = print,
        resume_timeout_s: float = RESUME_TIMEOUT_S,
    ) -> None:
        self.name = f"the database {dbname} of {cluster.rsplit(':', 1)[-1]}"
        self._target = {"resourceArn": cluster, "database": dbname}
        self._admin_secret, self._user_secret = admin_secret, user_secret
        self._client = client("rds-data", region)
        self._tell = tell
        self._resume_timeout_s = resume_timeout_s

    @contextmanager
    def as_admin(self) -> Iterator[_DataApiSession]:
        with self._transaction(self._admin_secret) as session:
            yield session

    @contextmanager
    def as_user(self, login: Login) -> Iterator[_DataApiSession]:
        del login  # the Data API reads the secret itself
        with self._transaction(self._user_secret) as session:
            yield session

    @contextmanager
    def _transaction(self, secret: str) -> Iterator[_DataApiSession]:
        target = {**self._target, "secretArn": secret}
        answer = self._awake(lambda: self._client.begin_transaction(**target))
        ours = {"resourceArn": target["resourceArn"], "secretArn": secret, "transactionId": answer["transactionId"]}
        try:
            yield _DataApiSession(self, {**target, "transactionId": answer["transactionId"]})
        except BaseException:
            # Otherwise it ends after three minutes.
            with suppress(ClientError, BotoCoreError):
                self._client.rollback_transaction(**ours)
            raise
        self.call(lambda: self._client.commit_transaction(**ours))

    def execute(self, **arguments: Any) -> Any:
        """ExecuteStatement."""
        return self.call(lambda: self._client.execute_statement(**arguments))

    def call(self, request: Callable[[], T]) -> T:
        """A request to the Data API.

        :raises Refused: by PostgreSQL.
        :raises PreparationError: by AWS.
        """
        try:
            return request()
        except (ClientError, BotoCoreError) as error:
            failure = self._failure(error)
        raise failure

    def _awake(self, request: Callable[[], T]) -> T:
        """The first request, which resumes a paused cluster."""
        deadline = time.monotonic() + self._resume_timeout_s
        announced = False
        while True:
            try:
                return request()
            except (ClientError, BotoCoreError) as error:
                if not _is_resuming(error):
                    failure = self._failure(error)
                    break
            if time.monotonic() > deadline:
                failure = PreparationError(
                    f"{self.name} is still resuming after {self._resume_timeout_s:.0f} s: check the cluster in the "
                    "RDS console, and try again."
                )
                break
            if not announced:
                self._tell(f"{self.name} is paused; waiting for it to resume (15 to 60 s)")
                announced = True
            time.sleep(min(RESUME_INTERVAL_S, self._resume_timeout_s))
        raise failure

    def _failure(self, error: Exception) -> Exception:
        text = str(error.response.get("Error", {}).get("Message", "")) if isinstance(error, ClientError) else ""
        code = code_of(error)
        if found := _SQLSTATE.search(text):
            reason = _SEVERITY.sub("", text[: found.start()].splitlines()[0])
            return Refused(found[1], reason)
        if "password authentication failed" in text:
            return Refused("28P01", _SEVERITY.sub("", text.splitlines()[0]))
        if advice := _advice(code, text):
            return PreparationError(f"{self.name}: {advice}")
        return PreparationError(str(explain(error, f"Calling the Data API for {self.name}")))


class _DataApiSession:
    def __init__(self, database: DataApiDatabase, target: dict[str, str]) -> None:
        self._database = database
        self._target = target

    def rows(self, statement: str, **values: str) -> list[Row]:
        """See `Session`."""
        answer = self._database.execute(
            **self._target,
            sql=_PLACEHOLDER.sub(r":\1", statement),
            parameters=[{"name": name, "value": {"stringValue": value}} for name, value in values.items()],
        )
        return [[_value(cell) for cell in record] for record in answer.get("records", ())]


def _value(cell: dict[str, Any]) -> Any:
    if cell.get("isNull"):
        return None
    return next(iter(cell.values()))


def _is_resuming(error: Exception) -> bool:
    # Older clusters answer with BadRequestException and the text of the driver.
    text = str(error)
    return code_of(error) == "DatabaseResumingException" or "is resuming" in text or "Communications link" in text


def _advice(code: str, text: str) -> str | None:
    """Advice for errors of the Data API itself."""
    if code == "HttpEndpointNotEnabledException" or "HttpEndpoint is not enabled" in text:
        return "its Data API is off: set enable_http_endpoint on the cluster (our Terraform does), or use a DSN."
    if code in ("DatabaseNotFoundException", "DatabaseUnavailableException"):
        return f"the cluster does not exist or is not available ({code}): check its ARN, and that it is running."
    if code in ("SecretsErrorException", "InvalidSecretException"):
        return f"a secret cannot be used to log in ({text or code}): it must be JSON with username and password."
    if code in ("ForbiddenException", "AccessDeniedException", "AccessDenied"):
        return (
            f"your AWS identity lacks a right ({text or code}): it needs rds-data:BeginTransaction, CommitTransaction, "
            "RollbackTransaction, ExecuteStatement on the cluster, and secretsmanager:GetSecretValue on both secrets."
        )
    if code == "StatementTimeoutException":
        return "a statement took over 45 s: another session holds a lock; try again when no run of the DAG is active."
    return None
