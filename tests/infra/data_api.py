"""The RDS Data API's protocol in front of a real PostgreSQL.

Logs in as whoever the named secret says, as the real one does: the secrets are asked of Secrets Manager (moto). Speaks
what botocore's model of `rds-data` defines for transactions and ExecuteStatement; refuses what the real one refuses:
several statements in one, placeholders without a value, results that are arrays.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import psycopg
from botocore.exceptions import ClientError

from tests.infra.json_server import Answer, serving_json

PLACEHOLDER = re.compile(r"(?<!:):([A-Za-z_]\w*)")


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, kind: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.kind, self.message, self.status = kind, message, status


class DataApi:
    """What the server knows.

    :param clusters: ARN -> host and port of the PostgreSQL behind it.
    """

    def __init__(self, clusters: dict[str, tuple[str, int]]) -> None:
        self.clusters = clusters
        self.refusals: list[Refusal] = []
        """Answers for the next requests, before anything is done."""
        self.statements: list[tuple[str, list[Any]]] = []
        self.committed = 0
        self._transactions: dict[str, psycopg.Connection[Any]] = {}

    def answer(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        if self.refusals:
            raise self.refusals.pop(0)
        match path:
            case "/BeginTransaction":
                return {"transactionId": self._begin(request)}
            case "/CommitTransaction":
                self._transaction(request, last=True).commit()
                self.committed += 1
                return {"transactionStatus": "Transaction Committed"}
            case "/RollbackTransaction":
                self._transaction(request, last=True).rollback()
                return {"transactionStatus": "Rollback Complete"}
            case "/Execute":
                return self._execute(request)
        raise Refusal("NotFoundException", f"no such operation {path}", 404)

    def _begin(self, request: dict[str, Any]) -> str:
        if request["resourceArn"] not in self.clusters:
            raise Refusal("DatabaseNotFoundException", "Database cluster not found", 404)
        try:
            text = boto3.client("secretsmanager").get_secret_value(SecretId=request["secretArn"])["SecretString"]
            login = json.loads(text)
            user, password = login["username"], login["password"]
        except (ClientError, ValueError, KeyError):
            raise Refusal("SecretsErrorException", "Secrets Manager can't find the specified secret.") from None
        host, port = self.clusters[request["resourceArn"]]
        try:
            connection = psycopg.connect(
                host=host, port=port, dbname=request["database"], user=user, password=password, sslmode="disable"
            )
        except psycopg.OperationalError as error:
            reason = str(error).strip().split("FATAL:  ")[-1]
            state = "28P01" if "password" in reason else "08001"
            raise Refusal("DatabaseErrorException", f"FATAL: {reason}; SQLState: {state}") from None
        name = secrets.token_urlsafe(24)
        self._transactions[name] = connection
        return name

    def _transaction(self, request: dict[str, Any], last: bool = False) -> psycopg.Connection[Any]:
        name = request.get("transactionId", "")
        if name not in self._transactions:
            raise Refusal("TransactionNotFoundException", f"Transaction {name} is not found", 404)
        return self._transactions.pop(name) if last else self._transactions[name]

    def _execute(self, request: dict[str, Any]) -> dict[str, Any]:
        values = {p["name"]: next(iter(p["value"].values())) for p in request.get("parameters") or ()}
        self.statements.append((request["sql"], list(values.values())))

        def placeholder(found: re.Match[str]) -> str:
            if found[1] not in values:
                raise Refusal("BadRequestException", f"Cannot find parameter: {found[1]}")
            return f"%({found[1]})s::text"

        statement = PLACEHOLDER.sub(placeholder, request["sql"].replace("%", "%%"))
        try:
            # Prepared: the protocol then takes one statement only.
            cursor = self._transaction(request).execute(statement.encode(), values, prepare=True)
            rows = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            text = f"ERROR: {error.diag.message_primary}; Position: 1; SQLState: {error.sqlstate}"
            raise Refusal("DatabaseErrorException", text) from None
        return {"records": [[cell(value) for value in row] for row in rows], "numberOfRecordsUpdated": 0}

    def close(self) -> None:
        for connection in self._transactions.values():
            connection.close()


def cell(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"isNull": True}
        case bool():
            return {"booleanValue": value}
        case int():
            return {"longValue": value}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
    raise Refusal("UnsupportedResultException", "The result contains an unsupported data type")


@contextmanager
def serving(api: DataApi) -> Iterator[str]:
    """The address of a server that answers for `api`."""

    def answer(_: str, path: str, request: dict[str, Any]) -> Answer:
        try:
            return 200, "", api.answer(path, request)
        except Refusal as refusal:
            return refusal.status, refusal.kind, {"message": refusal.message}

    with serving_json(answer) as address:
        yield address
    api.close()
