"""What the ledger tells: the status of all tables for the page in Airflow, and how many changes each usually gets.

Each part is one statement that returns JSON; 500 tables with 400 days of loads take well under a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from cd2.replication.database.connection import Replica
from cd2.replication.failures import in_our_words
from cd2.replication.names import TableName
from cd2.replication.results import OddVolume

RECENT_LOADS = 20
SHOWN_CHANGES = 100
"""How many schema changes the status names, the newest first."""
SHOWN_DAYS = 30
SENTENCE_LIMIT = 1_000
"""Characters of an error: the status of 500 tables that all fail must fit into an XCom; the log has every word."""
WEEKS = 6
"""With how many weeks before it a day is compared."""
WHOLE_DAY = (timedelta(hours=18), timedelta(hours=30))
"""What the loads of a day must cover, to be compared with others: after an outage a day has the changes of several."""

_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
_GOOD = "l.action IN ('sync', 'init', 'reinit') AND l.state NOT IN ('failed', 'needs_init')"
"""Loads that brought the table up to date; a later version may note other things, too."""

_TABLES = f"""
SELECT coalesce(json_agg(json_build_object(
    'table', s.namespace || '.' || s.table_name, 'state', s.state, 'checked', {_TIME.format("s.checked_at")},
    'data_as_of', {_TIME.format("s.data_as_of")}, 'rows', s.rows_in_table, 'rows_written', s.rows_written,
    'rows_deleted', s.rows_deleted, 'last_change', {_TIME.format("s.last_change_at")},
    'failing_since', {_TIME.format("s.failing_since")},
    'error', CASE WHEN length(s.error) > $2 THEN left(s.error, $2 - 1) || '…' ELSE s.error END,
    'schema_version', s.schema_version, 'verified_at', {_TIME.format("s.verified_at")}, 'recent', recent.changes
) ORDER BY s.namespace, s.table_name), '[]') AS found
FROM cd2.status s CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(newest.changes ORDER BY newest.at), '[]') AS changes
    FROM (SELECT l.at, l.rows_written + l.rows_deleted AS changes FROM cd2.loads l
          WHERE l.namespace = s.namespace AND l.table_name = s.table_name AND {_GOOD}
          ORDER BY l.at DESC LIMIT $1) AS newest) AS recent"""

_SCHEMA_CHANGES = f"""
SELECT coalesce(json_agg(json_build_object(
    'table', c.namespace || '.' || c.table_name, 'at', {_TIME.format("c.at")}, 'from_version', c.from_version,
    'to_version', c.to_version, 'what', c.what, 'views', c.views
) ORDER BY c.at DESC, c.namespace, c.table_name), '[]') AS found
FROM (SELECT s.namespace, s.table_name, s.at, min(s.from_version) AS from_version, max(s.to_version) AS to_version,
          coalesce(string_agg(s.what, '; ' ORDER BY s.kind, s.object) FILTER (WHERE s.kind NOT LIKE 'dependent %'),
                   'no change of the schema') AS what,
          coalesce(json_agg(json_build_object('name', s.object, 'restored', s.kind = 'dependent restored')
                            ORDER BY s.object) FILTER (WHERE s.kind LIKE 'dependent %'), '[]') AS views
      FROM cd2.schema_changes s GROUP BY 1, 2, 3 ORDER BY s.at DESC LIMIT $1) AS c"""

_VOLUMES = """
SELECT json_agg(json_build_object('day', d.day, 'rows_written', coalesce(sums.written, 0),
                                  'rows_deleted', coalesce(sums.deleted, 0)) ORDER BY d.day) AS found
FROM (SELECT (now() AT TIME ZONE 'UTC')::date - n AS day FROM generate_series(0, $1 - 1) AS n) AS d
LEFT JOIN (
    SELECT (l.at AT TIME ZONE 'UTC')::date AS day, sum(l.rows_written) AS written, sum(l.rows_deleted) AS deleted
    FROM cd2.freshness f CROSS JOIN LATERAL (
        SELECT l.at, l.rows_written, l.rows_deleted FROM cd2.loads l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.rows_written + l.rows_deleted > 0
          AND l.at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - ($1 - 1) * interval '1 day') AT TIME ZONE 'UTC'
        OFFSET 0
    ) AS l GROUP BY 1
) AS sums USING (day)"""

# A day counts if there was no snapshot, and if the loads of the day cover about a day since the last one before it.
_CHANGES = f"""
SELECT coalesce(json_agg(json_build_array(f.namespace, f.table_name, d.day, loads.changes)), '[]') AS found
FROM cd2.freshness f
CROSS JOIN (SELECT day, day::timestamp AT TIME ZONE 'UTC' AS begins, (day + 1)::timestamp AT TIME ZONE 'UTC' AS ends
            FROM (SELECT $1::date - 7 * n AS day FROM generate_series(0, $2) AS n) AS days) AS d
CROSS JOIN LATERAL (
    SELECT sum(l.rows_written + l.rows_deleted) AS changes, max(l.at) AS last,
           bool_or(l.action IN ('init', 'reinit')) AS snapshot
    FROM cd2.loads l
    WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.at >= d.begins AND l.at < d.ends AND {_GOOD}
) AS loads
CROSS JOIN LATERAL (
    SELECT l.at FROM cd2.loads l
    WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.at < d.begins AND {_GOOD}
    ORDER BY l.at DESC LIMIT 1
) AS before
WHERE NOT loads.snapshot AND loads.last - before.at BETWEEN $3 AND $4"""

# Each is reported by one run; a run whose report is repeated reports the same.
_REPORT = """
WITH noted AS (
    INSERT INTO cd2.volume_alerts (namespace, table_name, day, changes, usual, run_id)
    SELECT o.namespace, o.table_name, o.day, o.changes, o.usual, $1
    FROM jsonb_to_recordset($2) AS o(namespace text, table_name text, day date, changes bigint, usual bigint)
    ON CONFLICT DO NOTHING
    RETURNING namespace, table_name, day, changes, usual
), all_of_run AS (
    SELECT * FROM noted
    UNION SELECT namespace, table_name, day, changes, usual FROM cd2.volume_alerts WHERE run_id = $1 AND day >= $3
)
SELECT coalesce(json_agg(json_build_array(namespace, table_name, day, changes, usual) ORDER BY namespace, table_name),
                '[]') AS found
FROM all_of_run"""


async def read(replica: Replica) -> dict[str, Any]:
    """The status of all tables as plain JSON: `tables`, `schema_changes`, `volumes` (docs/reference.md).

    Three statements, however many tables there are. Times are UTC, ISO 8601, to the second.

    :raises Cd2Error: the database cannot be reached, or is not prepared.
    """
    with in_our_words("Reading the status of the tables"):
        return {
            "tables": await _found(replica, _TABLES, RECENT_LOADS, SENTENCE_LIMIT),
            "schema_changes": await _found(replica, _SCHEMA_CHANGES, SHOWN_CHANGES),
            "volumes": await _found(replica, _VOLUMES, SHOWN_DAYS),
        }


async def changes(replica: Replica, day: date) -> dict[TableName, dict[date, int]]:
    """How many rows of each table changed on a day (UTC), and on the same weekdays of the weeks before.

    Days are left out on which the loads did not cover about a day, or on which there was a snapshot.

    :raises Cd2Error: the database cannot be reached, or is not prepared.
    """
    with in_our_words("Reading how much the tables change"):
        found: dict[TableName, dict[date, int]] = {}
        for namespace, table, on, number in await _found(replica, _CHANGES, day, WEEKS, *WHOLE_DAY):
            found.setdefault(TableName(namespace, table), {})[date.fromisoformat(on)] = int(number)
        return found


async def report(replica: Replica, run: str, day: date, odd: Sequence[OddVolume]) -> tuple[OddVolume, ...]:
    """Note unusual volumes of a day in `cd2.volume_alerts`.

    :returns: those that this run is the first to note; it reports them.
    :raises Cd2Error: the database cannot be reached, or is not prepared.
    """
    rows = [
        {
            "namespace": volume.table.namespace,
            "table_name": volume.table.table,
            "day": volume.day.isoformat(),
            "changes": volume.changes,
            "usual": volume.usual,
        }
        for volume in odd
    ]
    with in_our_words("Noting unusual volumes"):
        return tuple(
            OddVolume(TableName(namespace, table), date.fromisoformat(on), number, usual)
            for namespace, table, on, number, usual in await _found(replica, _REPORT, run, json.dumps(rows), day)
        )


async def _found(replica: Replica, statement: str, *values: object) -> list[Any]:
    row = await replica.row(statement, *values)
    return list(json.loads(row["found"])) if row else []
