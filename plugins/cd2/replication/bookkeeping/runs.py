"""What is known about whole runs: `cd2.stops`, `cd2.late_runs`, and which broken dependents their messages told of.

The tables of a run wait in several triggerers: what stops all tables, such as refused credentials, ends the waits in
each of them. And Airflow 3.3.1 makes every triggerer report a late run: one does. A broken dependent is reported once a
day, and when its reason changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cd2.replication.database.connection import Replica
from cd2.replication.errors import StopAll, from_json, to_json
from cd2.replication.failures import in_our_words
from cd2.replication.results import BrokenDependent

AGAIN_AFTER = timedelta(hours=23)
"""A day, but for the minutes by which one run of a day ends later than that of the day before."""

_STOP = """
WITH forgotten AS (DELETE FROM cd2.stops WHERE at < clock_timestamp() - interval '1 day' AND run <> $1)
INSERT INTO cd2.stops (run, at, failure) VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (run) DO UPDATE SET at = excluded.at, failure = excluded.failure"""

_STOPPED = """
SELECT coalesce(json_agg(json_build_array(run, extract(epoch FROM clock_timestamp() - at), failure)), '[]') AS stops
FROM cd2.stops WHERE run = ANY($1)"""

_CLAIM = """
WITH forgotten AS (DELETE FROM cd2.late_runs WHERE reported_at < clock_timestamp() - interval '30 days')
INSERT INTO cd2.late_runs (run, reported_at) VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING RETURNING run"""

# Times in seconds since 1970, because JSON would have them in the session's time zone. A reporter whose report is
# repeated reports the same.
_BROKEN = """
WITH named AS (
    SELECT id, CASE WHEN definition ? 'part' THEN view_name ELSE schema_name || '.' || view_name END AS name
    FROM cd2.broken_dependents
), reported AS (
    UPDATE cd2.broken_dependents b SET reported_by = $1, reported_error = b.error,
        reported_at = CASE WHEN b.reported_by = $1 THEN b.reported_at ELSE clock_timestamp() END
    FROM named n
    WHERE n.id = b.id AND n.name = ANY($2) AND (b.reported_at IS NULL OR b.reported_by = $1
        OR b.reported_error <> b.error OR b.reported_at < clock_timestamp() - $3::interval)
    RETURNING b.id, n.name, b.error, b.failed_at
)
SELECT coalesce(json_agg(json_build_array(name, error, extract(epoch FROM failed_at)) ORDER BY id), '[]') AS found
FROM reported"""


@dataclass(frozen=True)
class Stop:
    """What stopped a run.

    :param age_s: how long ago, in seconds.
    """

    failure: StopAll
    age_s: float


async def stop(replica: Replica, run: str, failure: StopAll) -> None:
    """Note what stops a run; stops older than a day are forgotten."""
    await replica.row(_STOP, run, json.dumps(to_json(failure)))


async def stopped(replica: Replica, runs: Collection[str]) -> dict[str, Stop]:
    """The stops of these runs."""
    row = await replica.row(_STOPPED, list(runs))
    found: list[tuple[str, float, dict[str, Any]]] = json.loads(row["stops"]) if row else []
    stops = {}
    for run, age_s, failure in found:
        error = from_json(failure)
        if isinstance(error, StopAll):
            stops[run] = Stop(error, age_s)
    return stops


async def claim_late_report(replica: Replica, run: str) -> bool:
    """Whether the caller is the first to report this run as late; it must then do so."""
    return await replica.row(_CLAIM, run) is not None


async def report_broken(replica: Replica, reporter: str, names: Collection[str]) -> tuple[BrokenDependent, ...]:
    """Note that a message tells of broken dependents.

    :param reporter: identifies the message; whoever asks again for the same one gets the same.
    :param names: as in `Dependents.broken`.
    :returns: those of them that it is to tell of, in the order in which they broke: no message did within a day, or
        their reason is another now.
    :raises Cd2Error: the database cannot be reached, or is not prepared.
    """
    with in_our_words("Reading cd2.broken_dependents"):
        row = await replica.row(_BROKEN, reporter, list(names), AGAIN_AFTER)
        found = json.loads(row["found"]) if row else []
        return tuple(BrokenDependent.noted(name, error, epoch) for name, error, epoch in found)
