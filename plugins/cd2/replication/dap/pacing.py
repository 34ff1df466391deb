"""Turns at the DAP service, shared by all workers through the database.

DAP allows a key a few calls a minute (5 job creations, 5 listings, 200 calls for URLs), counted across all processes,
tasks and runs. The last turns are one row per key and endpoint in `cd2.pacer`; one atomic statement takes the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.database.connection import Replica

log = logging.getLogger(__name__)

Endpoint = Literal["data", "list", "object"]
"""Job creations, listings, and calls for the URLs of objects."""
LIST_CALLS_PER_MINUTE = 5
OBJECT_CALLS_PER_MINUTE = 200
WINDOW_S = 60 * 1.03
"""In this time there are no more turns than DAP allows in a minute: the network delays some calls more than others."""
MOST_AT_ONCE = 60
"""Of a higher limit, this many turns share a part of the minute: the row of the clock stays small."""
LONG_WAIT_S = 5.0

TAKE_TURN = """
INSERT INTO cd2.pacer AS pacer (key, endpoint, next_turn, turns)
SELECT $1, $2, now, ARRAY[now] FROM clock_timestamp() AS now
ON CONFLICT (key, endpoint) DO UPDATE SET (next_turn, turns) = (
    SELECT turn, (pacer.turns || turn)[greatest(1, cardinality(pacer.turns) + 2 - $3::int) :]
    FROM (SELECT greatest(
        pacer.next_turn,
        clock_timestamp(),
        pacer.turns[cardinality(pacer.turns) + 1 - $3::int] + $4::float8 * interval '1 second'
    )) AS free (turn))
RETURNING next_turn AS turn"""
"""Takes the next turn of key $1 at endpoint $2, which has $3 turns in $4 seconds.

`turns` are the last $3 of them. The next one comes at once if the oldest was long enough ago: few tables need not wait.
"""

_SECONDS_UNTIL_TURN = f"""
WITH taken AS ({TAKE_TURN})
SELECT greatest(0, extract(epoch FROM turn - clock_timestamp()))::float8 AS wait FROM taken"""

_PUSH_BACK = """
UPDATE cd2.pacer SET next_turn = pushed.turn, turns = ARRAY(
    SELECT greatest(
        turns[cardinality(turns) - $3::int + n],
        pushed.turn + ((n - 1.0) / $3::int - 1) * $4::float8 * interval '1 second')
    FROM generate_series(1, $3::int) AS n ORDER BY n)
FROM (SELECT clock_timestamp() + $5 * interval '1 second') AS pushed (turn)
WHERE key = $1 AND endpoint = $2 AND next_turn < pushed.turn"""
"""No turn for $5 seconds; after that they are evenly spread, because somebody else uses the key."""


def limits(job_creations_per_minute: int) -> dict[Endpoint, int]:
    """How many calls a minute DAP allows a key at each endpoint; whoever allows more jobs allows more of each."""
    data = job_creations_per_minute
    return {"data": data, "list": max(LIST_CALLS_PER_MINUTE, data), "object": max(OBJECT_CALLS_PER_MINUTE, data)}


class Pacer:
    """Hands out turns for one DAP key.

    :param replica: the database with the shared clock.
    :param client_id: the DAP key; only a hash of it is stored.
    :param per_minute: allowed calls a minute, by endpoint.
    :param sleep: waits for a number of seconds.

    `key` identifies the DAP key in the database.
    """

    def __init__(
        self,
        replica: Replica,
        client_id: str,
        per_minute: dict[Endpoint, int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._replica = replica
        self.key = hashlib.sha256(client_id.encode()).hexdigest()[:16]
        self._clocks = {endpoint: _clock(limit) for endpoint, limit in per_minute.items()}
        self._sleep = sleep

    def clock(self, endpoint: Endpoint) -> tuple[str, str, int, float]:
        """The parameters of `TAKE_TURN`."""
        return (self.key, endpoint, *self._clocks[endpoint])

    async def turn(self, endpoint: Endpoint, connection: asyncpg.Connection | None = None) -> float:
        """Take the next turn and wait for it; no database connection is held while waiting.

        :param connection: takes it, outside of a transaction; None: one of the replica's.
        :returns: seconds waited.
        :raises StopAll, TransientError: the database cannot be reached; see `connect`.
        """
        seconds = await self.reserve(endpoint, connection)
        await self.wait(endpoint, seconds)
        return seconds

    async def reserve(self, endpoint: Endpoint, connection: asyncpg.Connection | None = None) -> float:
        """Take the next turn.

        :param connection: as `turn`.
        :returns: seconds until then.
        :raises StopAll, TransientError: as `turn`.
        """
        take = connection.fetchrow if connection else self._replica.row
        row = await take(_SECONDS_UNTIL_TURN, *self.clock(endpoint))
        return row["wait"] if row else 0.0

    async def wait(self, endpoint: Endpoint, seconds: float) -> None:
        """Wait for a turn that was taken; a long wait is logged."""
        if seconds >= LONG_WAIT_S:
            log.info("Waiting %.0f s for our turn: DAP limits the calls per minute (%s).", seconds, endpoint)
        await self._sleep(seconds)

    async def push_back(self, endpoint: Endpoint, seconds: float) -> None:
        """DAP answered 429: no turn for anybody for this many seconds."""
        await self._replica.row(_PUSH_BACK, *self.clock(endpoint), seconds)


def _clock(per_minute: int) -> tuple[int, float]:
    """How many turns there are in how many seconds: a whole part of the window, or a minute could have a part more."""
    parts = -(-per_minute // MOST_AT_ONCE)
    return per_minute // parts, WINDOW_S / parts
