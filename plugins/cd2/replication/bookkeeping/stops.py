"""`cd2.stops`: runs that met what stops all their tables, such as refused credentials.

The tables of a run wait in several triggerers; what one of them meets ends the waits of all.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cd2.replication.database.connection import Replica
from cd2.replication.errors import StopAll, from_json, to_json

_NOTE = """
WITH forgotten AS (DELETE FROM cd2.stops WHERE at < clock_timestamp() - interval '1 day' AND run <> $1)
INSERT INTO cd2.stops (run, at, failure) VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (run) DO UPDATE SET at = excluded.at, failure = excluded.failure"""

_READ = """
SELECT coalesce(json_agg(json_build_array(run, extract(epoch FROM clock_timestamp() - at), failure)), '[]') AS stops
FROM cd2.stops WHERE run = ANY($1)"""


@dataclass(frozen=True)
class Stop:
    """What stopped a run.

    :param age_s: how long ago, in seconds.
    """

    failure: StopAll
    age_s: float


async def note(replica: Replica, run: str, failure: StopAll) -> None:
    """Note what stops a run; stops older than a day are forgotten."""
    await replica.row(_NOTE, run, json.dumps(to_json(failure)))


async def read(replica: Replica, runs: Collection[str]) -> dict[str, Stop]:
    """The stops of these runs."""
    row = await replica.row(_READ, list(runs))
    found: list[tuple[str, float, dict[str, Any]]] = json.loads(row["stops"]) if row else []
    stops = {}
    for run, age_s, failure in found:
        error = from_json(failure)
        if isinstance(error, StopAll):
            stops[run] = Stop(error, age_s)
    return stops
