"""A database as Aurora's is after `terraform apply`, and prepare_database on it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import boto3
from psycopg import sql

from local.postgres import EmbeddedPostgres
from scripts.prepare_database.__main__ import main
from tests.infra.data_api import DataApi

CLUSTER = "arn:aws:rds:eu-central-1:123456789012:cluster:canvas-data-2-dev"
PASSWORD = 'it\'s a "p:ssw%rd" \\ $ä'
"""With everything that needs quoting somewhere."""


@dataclass
class Aurora:
    """A database as Aurora's is after `terraform apply`: its administrator is no superuser, and owns it."""

    postgres: EmbeddedPostgres
    api: DataApi
    database: str
    admin: str
    user: str

    @property
    def outputs(self) -> dict[str, str]:
        return {"--cluster": CLUSTER, "--admin-secret": self.admin, "--secret": self.user, "--database": self.database}

    def dsn(self, user: str, password: str) -> str:
        return self.postgres.dsn(self.database, user, password)

    def prepare(self, *more: str, **changed: str) -> None:
        """:param changed: arguments in place of the usual ones."""
        arguments = self.outputs | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        main([part for pair in arguments.items() for part in pair] + list(more))

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        return self.postgres.execute(sql.SQL(statement), self.database)


def put_secret(name: str, **values: object) -> None:
    client = boto3.client("secretsmanager")
    text = json.dumps(values)
    try:
        client.create_secret(Name=name, SecretString=text)
    except client.exceptions.ResourceExistsException:
        client.put_secret_value(SecretId=name, SecretString=text)


def lines(output: str, kind: str) -> list[str]:
    """What is said to have been changed, or that it would be."""
    return [line.split(maxsplit=1)[1] for line in output.splitlines() if line.startswith(f"  {kind} ")]
