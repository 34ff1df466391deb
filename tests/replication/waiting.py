"""Waiting for conditions instead of times: on a busy machine everything takes as long as it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

WAIT_S = 180.0
"""For what takes a second when nothing else runs."""


def wait_until(condition: Callable[[], bool], every_s: float = 0.02) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "what is waited for does not happen"
        time.sleep(every_s)


async def until(condition: Callable[[], Awaitable[bool]], while_running: asyncio.Task[object] | None = None) -> None:
    """Wait until something holds.

    :param while_running: what is to bring it about; once it has ended there is nothing to wait for.
    """
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            assert while_running is None or not while_running.done(), "it ended before that happened"
            await asyncio.sleep(0.02)


async def lost_when(work: Coroutine[Any, Any, object], moment: Callable[[], Awaitable[bool]]) -> None:
    """Begin something, and end it at a certain moment, as if its process were gone."""
    task = asyncio.create_task(work)
    await until(moment, task)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
