"""Steps of a verification, and what it must find: the replica compared with a job's own rows by other means."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult, Verification
from tests import steps
from tests.replication.replica import run


def verify(replicator: Replicator, table: str, **wanted: bool) -> TableResult:
    """What `sync_table` does with a table that is to be verified."""
    return run(steps.verify(replicator, table, **wanted))


def outcome(result: TableResult) -> Verification:
    """What the verification of a table that is up to date found."""
    assert result.state in ("complete", "complete_with_schema_update")
    assert result.verification is not None
    return result.verification


def differences(database: str, table: str) -> dict[str, set[Any]]:
    """The keys that the last verification of a table noted, by kind, as JSON texts."""
    found: dict[str, set[Any]] = {"missing": set(), "extra": set(), "different": set()}
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT kind, key FROM cd2.verification_differences WHERE verification = (SELECT id FROM cd2.verifications "
            "WHERE namespace || '.' || table_name = %s ORDER BY verified_at DESC LIMIT 1)",
            [table],
        )
        for kind, key in rows:
            found[kind].add(json.dumps(key, sort_keys=True))
    return found


def rows_of(database: str, table: str, *key: str) -> dict[str, str]:
    """All rows of a table as texts, by key."""
    pairs = ", ".join(f"'{name}', {name}" for name in key)
    with psycopg.connect(database) as connection:
        rows = connection.execute(f"SELECT jsonb_build_object({pairs}), t::text FROM {table} t".encode()).fetchall()
    return {json.dumps(found, sort_keys=True): text for found, text in rows}


def compared(replica: dict[str, str], truth: dict[str, str]) -> dict[str, set[str]]:
    """What differs between the rows of two tables, by kind."""
    return {
        "missing": truth.keys() - replica.keys(),
        "extra": replica.keys() - truth.keys(),
        "different": {key for key in replica.keys() & truth.keys() if replica[key] != truth[key]},
    }
