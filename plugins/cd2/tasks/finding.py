"""What the tasks of a table find out before they load (which job is finished, what the table needs), and its load."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cd2.replication.errors import Cd2Error, ReinitRequired, StopAll, TransientError, from_json, to_json, without_table
from cd2.replication.results import GOOD_STATES, Action, TableResult, Verification, VerificationOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from cd2.replication.names import TableName
    from cd2.replication.replicator import Replicator
    from cd2.replication.verification.verifier import Verifier
    from cd2.replication.waits import Place

PATIENCE_TRIES = 20
"""How often to ask while DAP answers 429: waiting costs nothing in the triggerer."""
PATIENCE_S = 2 * 60 * 60.0
"""How long a table waits for a verification that nobody asked for: the run, and with it all tables, waits for it."""
REFUSED = "RequestTypeForbidden"
"""DAP's type of error for a snapshot that it does not give now."""


@dataclass(frozen=True)
class Found:
    """What a task found out before it loads; an event carries it from the triggerer to a worker.

    :param job_id: the finished job.
    :param needs_init: the table needs an init, which is not this task's work.
    :param since: the table's cursor, ISO 8601 in UTC.
    :param error: what went wrong.
    :param skip: there is nothing to do.
    :param snapshot_id: the finished snapshot that the table is compared with.
    :param not_verified: why it is not compared, though it was to be: `Verification` as JSON.
    :param on_its_own: no person wants the comparison.
    :param waited_s: seconds that turns and jobs took.
    """

    job_id: str | None = None
    needs_init: bool = False
    since: str | None = None
    error: Cd2Error | None = None
    skip: bool = False
    snapshot_id: str | None = None
    not_verified: dict[str, Any] | None = None
    on_its_own: bool = False
    waited_s: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """As an event carries it."""
        if self.error:
            return {"error": to_json(self.error)}
        if self.needs_init:
            return {"needs_init": True, "since": self.since}
        event: dict[str, Any] = {"job_id": self.job_id, "since": self.since, "waited_s": self.waited_s}
        if self.snapshot_id or self.not_verified:
            event |= {"snapshot_id": self.snapshot_id, "not_verified": self.not_verified, "on_its_own": self.on_its_own}
        return event

    @classmethod
    def from_json(cls, event: dict[str, Any]) -> Found:
        """Read what `to_json` returned."""
        error = event.get("error")
        return cls(
            event.get("job_id"),
            bool(event.get("needs_init")),
            event.get("since"),
            from_json(error) if error else None,
            snapshot_id=event.get("snapshot_id"),
            not_verified=event.get("not_verified"),
            on_its_own=bool(event.get("on_its_own")),
            waited_s=float(event.get("waited_s") or 0.0),
        )


def verifier(replicator: Replicator) -> Verifier:
    """What verifies tables."""
    from cd2.replication.verification.verifier import Verifier

    return Verifier(replicator)


async def find_changes(
    replicator: Replicator,
    table: TableName,
    *,
    full_refresh: bool,
    place: Place | None = None,
    given_up: datetime | None = None,
) -> Found:
    """For `sync_table`: a finished job with the changes since the cursor, or that the table needs an init.

    :param place: in the line of the tables that wait in this process.
    :param given_up: a job that was asked for before this moment, and is not done, is given up for a new one.
    :raises Cd2Error: what went wrong, in our words.
    """
    since = await replicator.cursor(table)
    if since is None or full_refresh:
        return Found(needs_init=True, since=since.isoformat() if since else None)
    started = time.monotonic()
    job_id = await replicator.ask(table, since, tries=PATIENCE_TRIES, place=place, given_up=given_up)
    return Found(job_id, since=since.isoformat(), waited_s=_since(started))


async def find_verification(
    replicator: Replicator,
    table: TableName,
    *,
    on_its_own: bool,
    place: Place | None = None,
    given_up: datetime | None = None,
) -> Found:
    """For `sync_table` of a table that is to be verified: a finished snapshot, and the changes that lead beyond it.

    If DAP refuses the snapshot, the table is synced and not verified.

    :param on_its_own: no person wants it: without a snapshot for another reason it is not verified either.
    :param place: in the line of the tables that wait in this process.
    :param given_up: a job that was asked for before this moment, and is not done, is given up for a new one.
    :raises Cd2Error: what went wrong, in our words.
    """
    since = await replicator.cursor(table)
    if since is None:
        return Found(needs_init=True)
    started = time.monotonic()
    try:
        async with _patience(table, on_its_own):
            snapshot_id, job_id = await verifier(replicator).ask(
                table, since, tries=PATIENCE_TRIES, place=place, given_up=given_up
            )
    except Cd2Error as failure:
        refused = failure.type == REFUSED
        if isinstance(failure, StopAll | ReinitRequired) or not (refused or on_its_own):
            raise
        found = await find_changes(replicator, table, full_refresh=False, place=place, given_up=given_up)
        outcome: VerificationOutcome = "refused" if refused else "postponed"
        why = Verification(outcome, not on_its_own, reason=without_table(failure.message))
        return replace(found, not_verified=asdict(why), on_its_own=on_its_own, waited_s=_since(started))
    found = Found(job_id, since=since.isoformat(), snapshot_id=snapshot_id)
    return replace(found, on_its_own=on_its_own, waited_s=_since(started))


@asynccontextmanager
async def _patience(table: TableName, on_its_own: bool) -> AsyncIterator[None]:
    """What nobody asked for is given up after `PATIENCE_S` seconds, such as a snapshot that DAP never finishes.

    :raises TransientError: it is.
    """
    limit = asyncio.timeout(PATIENCE_S if on_its_own else None)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TransientError(
            f"{table}: DAP did not finish the snapshot for a verification within {PATIENCE_S / 3600:g} h.",
            type="HungJob",
        ) from None


async def find_snapshot(
    replicator: Replicator,
    table: TableName,
    *,
    synced: dict[str, Any] | None,
    place: Place | None = None,
    given_up: datetime | None = None,
) -> Found:
    """For `init_table`: a finished job with all rows, if the table's sync said that it needs one.

    :param synced: the result of the sync.
    :param place: in the line of the tables that wait in this process.
    :param given_up: a job that was asked for before this moment, and is not done, is given up for a new one.
    :raises Cd2Error: what went wrong, in our words.
    """
    if not synced or synced["state"] != "needs_init":
        return Found(skip=True)
    # The sync of a new table, or of a full refresh, reports no error; that of an automatic re-init does.
    requested = not synced.get("error")
    started = time.monotonic()
    job_id = await replicator.ask(
        table, None, tries=PATIENCE_TRIES, place=place, given_up=given_up, requested=requested
    )
    return Found(job_id, waited_s=_since(started))


@dataclass(frozen=True)
class Loading:
    """How a worker loads.

    :param requested: whether a person requested an init.
    :param accept_shrink: a person has confirmed that many rows go.
    :param repair: a person wants a verification to make equal what differs.
    :param last_try: no other try follows if this one fails.
    :param run: the id of the run.
    """

    requested: bool
    accept_shrink: bool
    repair: bool
    last_try: bool
    run: str | None = None


async def load_found(
    replicator: Replicator, table: TableName, action: Action, found: Found, how: Loading
) -> TableResult:
    """In a worker: load the job, and verify the table, if it is to be verified.

    :raises Cd2Error: what the trigger met, or what goes wrong here.
    """
    last, run, accept = how.last_try, how.run, how.accept_shrink
    if found.error:
        return await replicator.failed(table, action, found.error, last_try=last, run=run)
    job_id = str(found.job_id)
    if found.snapshot_id:
        return await verifier(replicator).verify(
            table,
            found.snapshot_id,
            job_id,
            requested=not found.on_its_own,
            repair=how.repair and not found.on_its_own,
            accept_shrink=accept,
            last_try=last,
            run=run,
        )
    result = await replicator.load(
        table, job_id, action, requested=how.requested, last_try=last, run=run, accept_shrink=accept
    )
    if not found.not_verified or result.state not in GOOD_STATES:
        return result
    return await verifier(replicator).not_verified(result, Verification(**found.not_verified), run)


def _since(started: float) -> float:
    """Seconds since then."""
    return round(time.monotonic() - started, 3)
