"""The ledger: one row of `cd2.loads` for each load, verification and failure; and what changed in the schema.

The same statement keeps `cd2.freshness`, so that the two never contradict each other. Neither holds values of rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from cd2.replication.errors import Cd2Error, to_json
from cd2.replication.names import TableName
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

# Without a snapshot: what was known before, if nobody else has moved the cursor since, and what the load has added.
_ROWS_IN_TABLE = """coalesce($15,
    (SELECT CASE WHEN l.data_as_of = $5 THEN l.rows_in_table END FROM cd2.loads l
     WHERE l.namespace = $1 AND l.table_name = $2 AND l.rows_in_table IS NOT NULL ORDER BY l.at DESC LIMIT 1) + $16)"""
_RETURNING = " RETURNING at, rows_in_table"

COUNTED_BYTES = 16 * 2**30
"""A larger table is not counted: that could take many minutes. It begins with PostgreSQL's estimate."""
_ESTIMATED = """
SELECT CASE WHEN pg_relation_size(c.oid) > $2 AND c.reltuples >= 0 THEN c.reltuples::bigint END
FROM pg_class c WHERE c.oid = to_regclass($1)"""
_CORRECT = "UPDATE cd2.loads SET rows_in_table = $4 WHERE namespace = $1 AND table_name = $2 AND at = $3"

_KNOWN = """
SELECT rows_in_table FROM cd2.loads
WHERE namespace = $1 AND table_name = $2 AND rows_in_table IS NOT NULL ORDER BY at DESC LIMIT 1"""

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
_LOADED = f"WITH {_FRESH}{_LOADED_ROW}{_RETURNING}"
_LOADED_AND_CHANGED = f"WITH {_FRESH}, {_CHANGES}{_LOADED_ROW}{_RETURNING}"
"""A second one, because planning what there is nothing for takes longer than all the rest."""

_ENDED = _ROW.format(rows_in_table="NULL", error="$14, $15, $16")
_VERIFIED = _ROW.format(rows_in_table="$14", error="NULL, NULL, $15")

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
    """Note that a table is up to date, in the transaction that loads it: one statement, unless its rows are not known.

    :param changes: of the table's schema.
    :param run: the id of the run.
    :param reinitialized: by a snapshot that no person requested.
    """
    noted = [{"kind": c.kind, "object": c.object, "what": c.what, "known": False} for c in changes]
    noted += [_dependent(name, "restored", known=False) for name in result.dependents.restored]
    # What is still broken is named at each sync: it is noted once, and again when the schema changes again.
    noted += [_dependent(name, "broken", known=not changes) for name in result.dependents.broken]
    rows, added = (applied.rows_in_table, applied.rows_added) if applied else (None, 0)
    values = (*_values(result, run), reinitialized, rows, added)
    if noted:
        from_version = changes[0].from_version if changes else result.schema_version
        row = await connection.fetchrow(_LOADED_AND_CHANGED, *values, json.dumps(noted), from_version)
    else:
        row = await connection.fetchrow(_LOADED, *values)
    if row and row["rows_in_table"] is None:
        number = await _count(connection, result.table)
        await connection.execute(_CORRECT, result.table.namespace, result.table.table, row["at"], number)


async def rows_known(connection: asyncpg.Connection, table: TableName) -> int | None:
    """How many rows a table had after its last load or verification; None: not known."""
    rows: int | None = await connection.fetchval(_KNOWN, table.namespace, table.table)
    return rows


async def verified(
    connection: asyncpg.Connection, result: TableResult, rows_in_table: int | None, run: str | None = None
) -> None:
    """Note a verification.

    :param result: what it found; the bytes, seconds and job are those of the comparison.
    :param rows_in_table: counted just now; None: there was no comparison.
    :param run: the id of the run.
    """
    if found := result.verification:
        values = ("verify", found.outcome, *_values(result, run)[4:])
        await connection.execute(
            _VERIFIED, result.table.namespace, result.table.table, *values, rows_in_table, found.reason
        )


async def not_compared(
    connection: asyncpg.Connection, result: TableResult, failure: Cd2Error, run: str | None = None
) -> None:
    """Note that a verification failed; the table is up to date all the same."""
    values = ("verify", "failed", *_values(result, run)[4:])
    await connection.execute(_ENDED, result.table.namespace, result.table.table, *values, *_reason(failure))


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


async def _count(connection: asyncpg.Connection, table: TableName) -> int:
    """How many rows a table has; of a very large one, about how many."""
    rows: int | None = await connection.fetchval(_ESTIMATED, table.quoted, COUNTED_BYTES)
    if rows is None:
        rows = int(await connection.fetchval(f"SELECT count(*) FROM {table.rows}"))
    return rows


def _reason(error: Cd2Error) -> tuple[str, str | None, str]:
    return str(to_json(error)["kind"]), error.type, error.message


def _dependent(name: str, outcome: str, *, known: bool) -> dict[str, object]:
    what = f"{name} was restored" if outcome == "restored" else f"{name} could not be restored"
    return {"kind": f"dependent {outcome}", "object": name, "what": what, "known": known}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
