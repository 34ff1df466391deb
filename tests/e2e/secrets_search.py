"""Looks for known texts in all that runs leave behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from local.stack import Stack
from local.stack.components import AIRFLOW_PARTS, SECOND_TRIGGERER
from tests.e2e.story import metadata_dsn

MISTYPED = "mistyped-secret-99"
"""What stories put in place of a right secret."""
OVERLAP = 200
"""Bytes that are read again: a line may have been half written."""


def secrets_of(stack: Stack) -> list[str]:
    """What must be nowhere: passwords, right and wrong, and what signed addresses and tokens contain."""
    kept = [stack.folder.secret(name) for name in ("dap_client_secret", "replica")]
    return [*kept, MISTYPED, "X-Amz-Signature", "Bearer ey"]


class Search:
    """Searches the logs of tasks and of Airflow's components, what is new in them each time, and Airflow's database."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._read: dict[Path, int] = {}

    def places_of(self, texts: Sequence[str]) -> list[str]:
        """Log files and tables that hold any of the texts."""
        return [place for place, text in self._everything() if any(each in text for each in texts)]

    def _everything(self) -> Iterator[tuple[str, str]]:
        folder = self._stack.folder
        logs = list((folder.airflow / "logs").rglob("*.log")) + [
            folder.logs / f"{part}.log" for part in (*AIRFLOW_PARTS, SECOND_TRIGGERER)
        ]
        for log in logs:
            yield str(log.relative_to(folder.path)), self._news(log)
        with psycopg.connect(metadata_dsn(self._stack)) as connection:
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (table,) in found:
                rows = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table))).fetchall()
                yield table, "\n".join(row[0] for row in rows)

    def _news(self, log: Path) -> str:
        size = log.stat().st_size
        known = self._read.get(log, 0)
        self._read[log] = size
        with log.open("rb") as file:
            # a component that was started again began its log anew
            file.seek(max(0, known - OVERLAP) if known <= size else 0)
            return file.read().decode(errors="replace")
