"""The ledger: one row of `cd2.loads` for each load and each failure, with what it changed in the schema.

The same statement keeps `cd2.freshness`, so that the two never contradict each other. Neither holds values of rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from cd2.replication.errors import Cd2Error, to_json
from cd2.replication.results import Applied, SchemaChange, TableResult

KEPT = timedelta(days=400)
"""How long rows are kept: a year, and the same weeks of the year before."""
PRUNED_PER_TABLE = 200
"""How many rows of a table one run removes at most; it adds about one."""

_ROW = """
INSERT INTO cd2.loads (namespace, table_name, at, action, state, since, data_as_of, rows_written, rows_deleted,
    rows_in_table, bytes_downloaded, seconds, job_id, schema_version, run_id, error_kind, error_type, error)
VALUES ($1, $2, statement_timestamp(), $3, $4, $5, $6, $7, $8, {rows_in_table}, $9, $10, $11, $12, $13, {error})
ON CONFLICT DO NOTHING"""

# Without a snapshot: what the last load knew, and what PostgreSQL has counted in this transaction. At first, its guess.
_ROWS_IN_TABLE = """coalesce($15,
    (SELECT l.rows_in_table FROM cd2.loads l
     WHERE l.namespace = $1 AND l.table_name = $2 AND l.rows_in_table IS NOT NULL ORDER BY l.at DESC LIMIT 1)
        + pg_stat_get_xact_tuples_inserted(to_regclass($16)) - pg_stat_get_xact_tuples_deleted(to_regclass($16)),
    (SELECT c.reltuples::bigint FROM pg_class c WHERE c.oid = to_regclass($16) AND c.reltuples >= 0))"""

_FRESH = """fresh AS (
    INSERT INTO cd2.freshness AS f (namespace, table_name, checked_at, data_as_of, reinitialized_at)
    VALUES ($1, $2, statement_timestamp(), $6, CASE WHEN $14 THEN statement_timestamp() END)
    ON CONFLICT (namespace, table_name) DO UPDATE SET checked_at = excluded.checked_at,
        data_as_of = excluded.data_as_of, reinitialized_at = coalesce(excluded.reinitialized_at, f.reinitialized_at),
        failing_since = NULL, error = NULL
)"""
_CHANGES = """changes AS (
    INSERT INTO cd2.schema_changes (namespace, table_name, at, from_version, to_version, kind, object, what)
    SELECT $1, $2, statement_timestamp(), $18, $12, c.kind, c.object, c.what
    FROM jsonb_to_recordset($17) AS c(kind text, object text, what text, known boolean)
    WHERE NOT c.known OR 'dependent broken' IS DISTINCT FROM (
        SELECT s.kind FROM cd2.schema_changes s
        WHERE s.namespace = $1 AND s.table_name = $2 AND s.object = c.object ORDER BY s.at DESC LIMIT 1)
    ON CONFLICT DO NOTHING
)"""
_LOADED_ROW = _ROW.format(rows_in_table=_ROWS_IN_TABLE, error="NULL, NULL, NULL")
_LOADED = f"WITH {_FRESH}{_LOADED_ROW}"
_LOADED_AND_CHANGED = f"WITH {_FRESH}, {_CHANGES}{_LOADED_ROW}"
"""A second one, because planning what there is nothing for takes longer than all the rest."""

_ENDED = _ROW.format(rows_in_table="NULL", error="$14, $15, $16")

_FAILED = f"""
WITH fresh AS (
    INSERT INTO cd2.freshness AS f (namespace, table_name, failing_since, error)
    VALUES ($1, $2, statement_timestamp(), $16)
    ON CONFLICT (namespace, table_name) DO UPDATE
        SET failing_since = coalesce(f.failing_since, excluded.failing_since), error = excluded.error
){_ENDED}"""

_DELETE_OLD = """DELETE FROM cd2.{name} WHERE ctid = ANY(ARRAY(
    SELECT old.ctid FROM cd2.freshness f CROSS JOIN LATERAL (
        SELECT l.ctid FROM cd2.{name} l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.{time} < now() - $1::interval
        ORDER BY l.{time} LIMIT $2
    ) AS old))"""
_PRUNE = f"""
WITH loads AS ({_DELETE_OLD.format(name="loads", time="at")}),
    changes AS ({_DELETE_OLD.format(name="schema_changes", time="at")})
{_DELETE_OLD.format(name="volume_alerts", time="day")}"""


async def loaded(
    connection: asyncpg.Connection,
    result: TableResult,
    applied: Applied | None = None,
    changes: Sequence[SchemaChange] = (),
    *,
    run: str | None = None,
    reinitialized: bool = False,
) -> None:
    """Note that a table is up to date, in the transaction that loads it: one statement.

    :param changes: of the table's schema.
    :param run: the id of the run.
    :param reinitialized: by a snapshot that no person requested.
    """
    noted = [{"kind": c.kind, "object": c.object, "what": c.what, "known": False} for c in changes]
    noted += [_dependent(name, "restored", known=False) for name in result.dependents.restored]
    # What is still broken is named at each sync: it is noted once, and again when the schema changes again.
    noted += [_dependent(name, "broken", known=not changes) for name in result.dependents.broken]
    rows = applied.rows_in_table if applied else None
    values = (*_values(result, run), reinitialized, rows, result.table.quoted)
    if noted:
        from_version = changes[0].from_version if changes else result.schema_version
        await connection.execute(_LOADED_AND_CHANGED, *values, json.dumps(noted), from_version)
    else:
        await connection.execute(_LOADED, *values)


async def failed(
    connection: asyncpg.Connection, result: TableResult, failure: Cd2Error, run: str | None = None
) -> None:
    """Note that an attempt at a table failed."""
    await connection.execute(_FAILED, *_values(result, run), *_reason(failure))


async def needs_init(
    connection: asyncpg.Connection, result: TableResult, reason: Cd2Error, run: str | None = None
) -> None:
    """Note why a table needs a new snapshot; that is no failure."""
    await connection.execute(_ENDED, *_values(result, run), *_reason(reason))


async def prune(connection: asyncpg.Connection) -> None:
    """Remove what is older than `KEPT`, a bounded number of rows of each table; a backlog takes several runs."""
    await connection.execute(_PRUNE, KEPT, PRUNED_PER_TABLE)


def _values(result: TableResult, run: str | None) -> tuple[object, ...]:
    """The first thirteen values of each statement."""
    return (
        result.table.namespace,
        result.table.table,
        result.action,
        result.state,
        _time(result.since),
        _time(result.data_as_of),
        result.rows_upserted,
        result.rows_deleted,
        result.bytes_downloaded,
        result.duration_s,
        result.job_id,
        result.schema_version,
        run,
    )


def _reason(error: Cd2Error) -> tuple[str, str | None, str]:
    return str(to_json(error)["kind"]), error.type, error.message


def _dependent(name: str, outcome: str, *, known: bool) -> dict[str, object]:
    what = f"{name} was restored" if outcome == "restored" else f"{name} could not be restored"
    return {"kind": f"dependent {outcome}", "object": name, "what": what, "known": known}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
