"""Turns at the DAP service, shared by all workers through the database.

DAP allows a key a few calls a minute (5 job creations, 5 listings), counted across all processes, tasks and runs. The
next free turn is one row per key and endpoint in `cd2.pacer`; one atomic statement takes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from cd2.replication.database.connection import Replica

log = logging.getLogger(__name__)

Endpoint = Literal["data", "list"]
LIST_CALLS_PER_MINUTE = 5
SPACING_MARGIN = 1.03
"""Turns are this much further apart than the limit requires: the network delays some calls more than others."""
LONG_WAIT_S = 5.0

TAKE_TURN = """
INSERT INTO cd2.pacer AS pacer (key, endpoint, next_turn)
VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
ON CONFLICT (key, endpoint) DO UPDATE
    SET next_turn = greatest(pacer.next_turn, clock_timestamp()) + $3 * interval '1 second'
RETURNING next_turn - $3 * interval '1 second' AS turn"""
"""Takes the next turn of key $1 at endpoint $2, where turns are $3 seconds apart."""

_SECONDS_UNTIL_TURN = f"""
WITH taken AS ({TAKE_TURN})
SELECT greatest(0, extract(epoch FROM turn - clock_timestamp()))::float8 AS wait FROM taken"""

_PUSH_BACK = """
UPDATE cd2.pacer SET next_turn = greatest(next_turn, clock_timestamp() + $3 * interval '1 second')
WHERE key = $1 AND endpoint = $2"""


class Pacer:
    """Hands out turns for one DAP key.

    :param replica: the database with the shared clock.
    :param client_id: the DAP key; only a hash of it is stored.
    :param per_minute: allowed calls a minute, by endpoint.
    :param sleep: waits for a number of seconds.

    `key` identifies the DAP key in the database; `interval_s` is the time between two turns, by endpoint.
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
        self.interval_s = {endpoint: 60.0 / limit * SPACING_MARGIN for endpoint, limit in per_minute.items()}
        self._sleep = sleep

    async def turn(self, endpoint: Endpoint) -> float:
        """Take the next turn and wait for it; no database connection is held while waiting.

        :returns: seconds waited.
        :raises StopAll, TransientError: the database cannot be reached; see `connect`.
        """
        seconds = await self.reserve(endpoint)
        await self.wait(endpoint, seconds)
        return seconds

    async def reserve(self, endpoint: Endpoint) -> float:
        """Take the next turn.

        :returns: seconds until then.
        :raises StopAll, TransientError: as `turn`.
        """
        row = await self._replica.row(_SECONDS_UNTIL_TURN, self.key, endpoint, self.interval_s[endpoint])
        return row["wait"] if row else 0.0

    async def wait(self, endpoint: Endpoint, seconds: float) -> None:
        """Wait for a turn that was taken; a long wait is logged."""
        if seconds >= LONG_WAIT_S:
            log.info("Waiting %.0f s for our turn: DAP limits the calls per minute (%s).", seconds, endpoint)
        await self._sleep(seconds)

    async def push_back(self, endpoint: Endpoint, seconds: float) -> None:
        """DAP answered 429: no turn for anybody for this many seconds."""
        await self._replica.row(_PUSH_BACK, self.key, endpoint, seconds)
