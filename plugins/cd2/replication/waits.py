"""What the tables that wait in one process share: connections, the line for turns, the end of all waits of a run."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from cd2.replication.errors import Cd2Error, StopAll

if TYPE_CHECKING:
    from cd2.replication.names import TableName
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)

T = TypeVar("T")

REPLICATOR_LIFE_S = 300.0
"""How long one lookup of the credentials is shared: 90 triggers may start at once."""
LOOK_S = 10.0
"""How often to look whether another triggerer has stopped a run that has tables waiting here."""


class _Leased:
    """A replicator and how many waits use it."""

    def __init__(self, replicator: Replicator) -> None:
        self.replicator = replicator
        self.until = time.monotonic() + REPLICATOR_LIFE_S
        self.users = 0


class Replicators:
    """One replicator for all waits of the process, replaced when it is `REPLICATOR_LIFE_S` old.

    Who has leased the old one keeps it; it is closed when nobody does.

    :param make: makes one; may block, and raises StopAll if settings or credentials are wrong.
    """

    def __init__(self, make: Callable[[], Replicator]) -> None:
        self._make = make
        self._newest: _Leased | None = None
        self._making = asyncio.Lock()

    def lease(self) -> Lease:
        """The replicator, for the time of a block."""
        return Lease(self)

    def forget(self, replicator: Replicator) -> None:
        """Look the credentials up again for the next lease: they were refused."""
        if self._newest is not None and self._newest.replicator is replicator:
            self._newest.until = 0.0

    async def _take(self) -> _Leased:
        async with self._making:
            leased = self._newest
            if leased is None or time.monotonic() > leased.until:
                old = leased
                # In a thread: the lookups block, and so does the first import of the DAP client.
                leased = self._newest = _Leased(await asyncio.to_thread(self._make))
                if old is not None:
                    await self._close_unused(old)
            leased.users += 1
            return leased

    async def _give_back(self, leased: _Leased) -> None:
        leased.users -= 1
        await self._close_unused(leased)

    async def _close_unused(self, leased: _Leased) -> None:
        if leased.users == 0 and (leased is not self._newest or time.monotonic() > leased.until):
            if leased is self._newest:
                self._newest = None
            with suppress(Exception):  # nobody needs it any more
                await leased.replicator.close()


class Lease:
    """A replicator for the time of a block.

    :raises StopAll: settings or credentials are wrong.
    """

    def __init__(self, replicators: Replicators) -> None:
        self._replicators = replicators

    async def __aenter__(self) -> Replicator:
        """Take it."""
        self._leased = await self._replicators._take()
        return self._leased.replicator

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        await self._replicators._give_back(self._leased)


@dataclass(eq=False)
class _Wait:
    """A table's wait.

    :param table: whose wait it is.
    :param began: by the monotonic clock.
    :param stop: what ended it from outside.
    """

    table: TableName
    work: asyncio.Task[Any]
    began: float = field(default_factory=time.monotonic)
    stop: StopAll | None = None


class Waits:
    """The waits of this process: a `StopAll` of one table ends all waits of its run, here and in other processes.

    A table that begins to wait after that asks for itself: a person may have cleared it.
    """

    def __init__(self, replicators: Replicators) -> None:
        self._replicators = replicators
        self._runs: dict[str, set[_Wait]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def until_done(self, replicator: Replicator, run: str, table: TableName, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the work, or until another table of the run meets what stops all.

        :param run: identifies the DAG run.
        :raises StopAll: the failure of this table; or that of the other one, told as this table's.
        """
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        wait = _Wait(table, task)
        self._runs.setdefault(run, set()).add(wait)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.ensure_future(self._look_for_stops())
        try:
            return await asyncio.shield(task)
        except StopAll as stop:
            self._replicators.forget(replicator)
            if wait.stop is None:
                self._end(run, stop)
                with suppress(Cd2Error):  # the database itself may be what stops all
                    await replicator.stop(run, stop)
            raise
        except asyncio.CancelledError:
            if wait.stop is not None:
                raise wait.stop from None
            task.cancel()  # we are canceled ourselves
            raise
        finally:
            self._runs[run].discard(wait)
            if not self._runs[run]:
                del self._runs[run]

    def _end(self, run: str, stop: StopAll, before: float = math.inf) -> None:
        """End the waits of a run that began before a moment."""
        for wait in self._runs.get(run, ()):
            if wait.stop is None and wait.began < before:
                wait.stop = stop.met_by(wait.table)
                wait.work.cancel()

    async def _look_for_stops(self) -> None:
        """End the waits of runs that another process has stopped since they began."""
        while self._runs:
            await asyncio.sleep(LOOK_S)
            # Before the question, which may take long: who was cleared after the stop must not be ended by it.
            now = time.monotonic()
            try:
                async with self._replicators.lease() as replicator:
                    stops = await replicator.stopped(list(self._runs))
            except Exception as error:
                reason = error.message if isinstance(error, Cd2Error) else type(error).__name__
                log.info("Could not find out whether another triggerer has stopped the run: %s", reason)
                continue
            for run, stop in stops.items():
                self._end(run, stop.failure, before=now - stop.age_s)


class Line:
    """The tables of a process that wait to take a turn: the one with the lowest number goes next, whoever came first.

    Otherwise triggers would take their turns in the order in which the triggerer happens to start them.

    :param at_once: how many may hold a turn, or be asking DAP, at the same time.
    """

    def __init__(self, at_once: int = 2) -> None:
        self._free = at_once
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    def place(self, number: int) -> Place:
        """A place in the line, to be entered."""
        return Place(self, number)

    async def enter(self, number: int) -> None:
        """Wait until it is our time to take a turn."""
        if self._free:
            self._free -= 1
            return
        ours: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (number, next(self._arrivals), ours))
        log.info("%d table(s) wait in line for a turn at DAP here.", len(self._waiting))
        try:
            await ours
        except asyncio.CancelledError:
            if ours.done() and not ours.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Let the next one in."""
        while self._waiting:
            _, _, theirs = heapq.heappop(self._waiting)
            if not theirs.done():
                return theirs.set_result(None)
        self._free += 1
        return None


class Place:
    """A place in a `Line`; entered, it is held until the block ends."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self._number = number

    async def __aenter__(self) -> None:
        """Wait for it."""
        await self._line.enter(self._number)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it up."""
        self._line.leave()
