"""What is known about whole runs: `cd2.stops` and `cd2.late_runs`.

The tables of a run wait in several triggerers: what stops all tables, such as refused credentials, ends the waits in
each of them. And Airflow 3.3.1 makes every triggerer report a late run: one does.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cd2.replication.database.connection import Replica
from cd2.replication.errors import StopAll, from_json, to_json

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
