"""What a report of a run asks the replica; nothing in it fails because the replica cannot be asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cd2.notification.volumes import odd_volumes
from cd2.replication.errors import Cd2Error
from cd2.replication.names import TableName
from cd2.replication.results import BrokenDependent, Freshness, OddVolume

if TYPE_CHECKING:
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)


def status_from_ledger(make_replicator: Callable[[], Replicator]) -> dict[str, Any]:
    """The parts `tables`, `schema_changes` and `volumes` of the status of all tables; none, if it cannot be read."""
    try:
        from cd2.replication.bookkeeping import status

        return asyncio.run(status.read(make_replicator().replica))
    except Cd2Error as error:
        log.warning("Could not read the status of the tables: %s", error)
        return {}


@dataclass(frozen=True)
class Questions:
    """What a report asks the replica.

    :param volumes_of: the run that reports yesterday's unusual volumes; None: volumes are not judged.
    :param reporter: identifies the message; see `bookkeeping.runs`.
    :param broken: the dependents that the results call broken.
    """

    volumes_of: str | None
    reporter: str
    broken: tuple[str, ...]


Answers = tuple[dict[TableName, Freshness], tuple[OddVolume, ...], tuple[BrokenDependent, ...] | None]


def from_database(make_replicator: Callable[[], Replicator], questions: Questions) -> Answers:
    """How fresh the tables are; the unusual volumes of yesterday (UTC) and the broken dependents to report.

    Empty or None, if it cannot be read: the database may be what failed.
    """

    async def read(replicator: Replicator) -> Answers:
        fresh = await replicator.freshness()
        odd = await _odd_volumes(replicator, questions.volumes_of) if questions.volumes_of else ()
        return fresh, odd, await _broken_due(replicator, questions)

    try:
        return asyncio.run(read(make_replicator()))
    except Cd2Error as error:
        log.warning("Could not read the freshness of the tables: %s", error)
        return {}, (), None


async def _broken_due(replicator: Replicator, questions: Questions) -> tuple[BrokenDependent, ...] | None:
    from cd2.replication.bookkeeping import runs

    if not questions.broken:
        return ()
    try:
        return await runs.report_broken(replicator.replica, questions.reporter, questions.broken)
    except Cd2Error as error:
        log.warning("Could not find out why dependents are broken, and since when: %s", error)
        return None


async def _odd_volumes(replicator: Replicator, run_id: str) -> tuple[OddVolume, ...]:
    from cd2.replication.bookkeeping import status

    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    try:
        odd = odd_volumes(yesterday, await status.changes(replicator.replica, yesterday))
        return await status.report(replicator.replica, run_id, yesterday, odd)
    except Cd2Error as error:
        log.warning("Could not find out whether a table got an unusual number of changes: %s", error)
        return ()
