"""The competitors: our engine, the official client's command line, psql's COPY, and a sync by hand in psql."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks.measure import Program
from benchmarks.shapes import NAMESPACE, create_statements
from local.processes.families import MARKER
from local.settings import REPOSITORY

OURS, CLIENT, PSQL, HAND = "ours", "client", "psql", "hand"
DROPPED = ("AIRFLOW", "AWS_", "DAP_", "PG", "PYTHON", "CD2_")


@dataclass(frozen=True)
class Load:
    """What to load, and where.

    :param action: init or sync.
    :param dsn: the database.
    :param file: the decompressed objects without header and meta.ts, for psql. The lines of an incremental begin with
        meta.action.
    :param columns: the table's columns in the order of that file.
    :param key: the columns of its key.
    """

    action: str
    table: str
    dsn: str = field(repr=False)
    base_url: str
    client_id: str
    client_secret: str = field(repr=False)
    file: Path | None = None
    columns: tuple[str, ...] = ()
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Competitor:
    """One competitor.

    :param program: returns the program that does a load.
    :param prepared: needs the empty table beforehand.
    """

    name: str
    title: str
    program: Callable[[Load, Path, str], Program]
    prepared: bool = False


def base_environment(mark: str) -> dict[str, str]:
    """Our environment without variables that affect programs, and with the mark that identifies leftovers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    return kept | {
        MARKER: mark,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "plugins"))),
    }


def _ours(load: Load, _psql_path: Path, mark: str) -> Program:
    database = _parts(load.dsn)
    options = {
        "base_url": load.base_url,
        "client_id": load.client_id,
        "client_secret": load.client_secret,
        "sslmode": "disable",
        "sslrootcert": "",
        **database,
    }
    argv = [sys.executable, "-m", "benchmarks.run_ours", load.action, NAMESPACE, load.table]
    return Program(argv, base_environment(mark) | {"CD2_BENCH": json.dumps(options)})


def _client(load: Load, _psql_path: Path, mark: str) -> Program:
    environment = {
        "DAP_API_URL": load.base_url,
        "DAP_CLIENT_ID": load.client_id,
        "DAP_CLIENT_SECRET": load.client_secret,
        "DAP_CONNECTION_STRING": load.dsn,
        "DAP_TRACKING": "false",
    }
    argv = [sys.executable, "-m", "benchmarks.run_client", "--non-interactive", "--no-tracking", f"{load.action}db"]
    argv += ["--namespace", NAMESPACE, "--table", load.table]
    return Program(argv, base_environment(mark) | environment)


def _psql(load: Load, psql: Path, mark: str) -> Program:
    copy = f"""\\copy "{NAMESPACE}"."{load.table}" ({_quoted(load.columns)}) from '{load.file}'"""
    return _by_psql(load, psql, mark, [copy])


def _hand(load: Load, psql: Path, mark: str) -> Program:
    """A sync as an expert would write it for one certain table: nothing is checked, counted or noted.

    MERGE is faster than INSERT ... ON CONFLICT DO UPDATE (by 6% for the narrow table), and FREEZE changes nothing.
    """
    table = f'"{NAMESPACE}"."{load.table}"'
    values = [column for column in load.columns if column not in load.key]
    match = " AND ".join(f't."{column}" = s."{column}"' for column in load.key)
    changes = ", ".join(f'"{column}" = s."{column}"' for column in values)
    new = ", ".join(f's."{column}"' for column in load.columns)
    columns = _quoted(load.columns)
    create = f"CREATE UNLOGGED TABLE changes AS SELECT ''::text AS action, {columns} FROM {table} WITH NO DATA"
    copy = f"\\copy changes (action, {columns}) from '{load.file}'"
    delete = f"DELETE FROM {table} t USING changes s WHERE s.action = 'D' AND {match}"
    merge = (
        f"MERGE INTO {table} t USING (SELECT * FROM changes WHERE action = 'U') s ON {match} "
        f"WHEN MATCHED THEN UPDATE SET {changes} WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({new})"
    )
    return _by_psql(load, psql, mark, [create, copy, delete, merge, "DROP TABLE changes"])


def _by_psql(load: Load, psql: Path, mark: str, commands: Sequence[str]) -> Program:
    """The commands in one transaction."""
    database = _parts(load.dsn)
    environment = {
        "PGHOST": database["host"],
        "PGPORT": str(database["port"]),
        "PGDATABASE": database["dbname"],
        "PGUSER": database["user"],
        "PGPASSWORD": database["password"],
        "PGCLIENTENCODING": "UTF8",
    }
    argv = [str(psql), "--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1"]
    argv += [part for command in commands for part in ("--command", command)]
    return Program(argv, base_environment(mark) | environment)


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


COMPETITORS = {
    competitor.name: competitor
    for competitor in (
        Competitor(OURS, "ours", _ours),
        Competitor(CLIENT, "official client", _client),
        Competitor(PSQL, "psql \\copy", _psql, prepared=True),
        Competitor(HAND, "by hand in psql", _hand),
    )
}


def create_table(dsn: str, described: dict[str, Any]) -> None:
    """Create the empty table with its key, for psql."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in create_statements(described):
            connection.execute(statement)


def fingerprint(dsn: str, table: str, columns: list[str]) -> tuple[int, int]:
    """The number of rows, and the sum of the hashes of all rows, which does not depend on their order."""
    row = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)FROM {}")
    with psycopg.connect(dsn) as connection:
        connection.execute("SET timezone = 'UTC'")
        found = connection.execute(query.format(row, sql.Identifier(NAMESPACE, table))).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def work_seconds(printed: str) -> float | None:
    """The seconds on the last line of a runner; None for a program that does not print them."""
    lines = [line for line in printed.splitlines() if line.strip()]
    if lines and lines[-1].startswith('{"work_s"'):
        return float(json.loads(lines[-1])["work_s"])
    return None


def _parts(dsn: str) -> dict[str, Any]:
    parts = urlsplit(dsn)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "dbname": parts.path.lstrip("/"),
        "user": parts.username,
        "password": parts.password,
    }
