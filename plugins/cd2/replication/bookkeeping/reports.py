"""`cd2.late_runs`: runs that have been reported as late, because Airflow 3.3.1 makes every triggerer report them."""

from __future__ import annotations

from cd2.replication.database.connection import Replica

_CLAIM = """
WITH forgotten AS (DELETE FROM cd2.late_runs WHERE reported_at < clock_timestamp() - interval '30 days')
INSERT INTO cd2.late_runs (run, reported_at) VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING RETURNING run"""


async def claim(replica: Replica, run: str) -> bool:
    """Whether the caller is the first to report this run as late; it must then do so."""
    return await replica.row(_CLAIM, run) is not None
