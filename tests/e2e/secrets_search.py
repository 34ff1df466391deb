"""Looks for known secrets in all that runs leave behind."""

from __future__ import annotations

import psycopg
from psycopg import sql

from local.stack import Stack

MISTYPED = "mistyped-secret-99"
"""What stories put in place of a right secret."""


def in_metadata_database(stack: Stack) -> dict[str, str]:
    """All rows of every table of Airflow's own database, as text."""
    dsn = stack.airflow_environment()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    with psycopg.connect(dsn) as connection:
        tables = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {
            table: "\n".join(
                row[0] for row in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table)))
            )
            for table in tables
        }


def assert_no_secret_is_kept(stack: Stack) -> None:
    """Search all logs of tasks and components, and all of Airflow's database."""
    secrets = [stack.folder.secret(name) for name in ("dap_client_secret", "replica")]
    secrets += [MISTYPED, "X-Amz-Signature", "Bearer ey"]
    logs = stack.folder.path / "airflow" / "logs"
    searched = 0
    for log in logs.rglob("*.log"):
        text = log.read_text(errors="replace")
        searched += 1
        assert not [secret for secret in secrets if secret in text], log
    assert searched > 50
    kept = in_metadata_database(stack)
    for table in ("xcom", "rendered_task_instance_fields", "task_state_store", "log"):
        assert kept[table], table
    assert "canvas.users" in kept["xcom"]
    assert [table for table, rows in kept.items() if any(secret in rows for secret in secrets)] == []
