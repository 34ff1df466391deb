"""The objects of one job: signed URLs for many objects in one call, and downloads that resume.

DAP allows a key 200 calls a minute for URLs, counted across all processes. A table of hundreds of small objects asks
for a hundred URLs at once, and every call takes a turn of the shared clock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import aiohttp

from cd2.replication.dap.proxies import proxy_for
from cd2.replication.dap.session import TOO_MANY_REQUESTS
from cd2.replication.errors import FailedJobError, TransientError, WaitError

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.dap.session import DapSession

log = logging.getLogger(__name__)

URLS_PER_CALL = 100
URL_LIFE_S = 10 * 60.0
"""A URL that is older is not used: DAP's live about 15 minutes."""
SERVER_TRIES = 3
"""How many calls for URLs in a row may fail with a server error."""
URL_TRIES = 20
"""How often to ask for URLs while DAP answers 429: a load that waits loses nothing, one that fails begins anew."""
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=30, sock_read=2 * 60)
"""No limit for a whole object, which may be big; two minutes of silence are a lost connection."""
DOWNLOAD_BLOCK = 1 << 18
DOWNLOAD_TRIES = 5
"""How many tries in a row may receive nothing."""
DOWNLOAD_PAUSE_S = 0.25
"""Before a download resumes; doubled each time that it received nothing."""


class Downloads:
    """Downloads the objects of a job, one after the other. To be entered.

    :param session: hands out the URLs.
    :param objects: ids of the objects, in the order in which they are downloaded.
    :param connection: takes the first turn; otherwise it costs a connection of its own. Not used after `prepare`.
    """

    def __init__(
        self, session: DapSession, objects: Sequence[str], connection: asyncpg.Connection | None = None
    ) -> None:
        self._session = session
        self._objects = list(objects)
        self._connection = connection
        self._urls: dict[str, tuple[str, float]] = {}

    async def __aenter__(self) -> Downloads:
        """Ask for the first URLs.

        :raises Cd2Error, dap.dap_error.OperationError: as `download`.
        """
        # A separate session: signed URLs must not get our Authorization header, and we check gzip ourselves.
        self._client = aiohttp.ClientSession(timeout=DOWNLOAD_TIMEOUT, auto_decompress=False)
        try:
            with suppress(aiohttp.ClientError, TimeoutError):  # the download tries again
                if self._objects:
                    await self._url(self._objects[0])
        except BaseException:
            await self._client.close()
            raise
        finally:
            self._connection = None  # from now on it loads
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._client.close()

    async def download(self, object_id: str) -> AsyncIterator[bytes]:
        """The bytes of an object as they are stored (gzip).

        After a lost connection or an expired URL the stream resumes where it stopped.

        :raises TransientError: several tries in a row received nothing.
        :raises FailedJobError: DAP no longer has the object.
        :raises WaitError: DAP kept answering 429.
        """
        received = 0
        failures = 0
        while failures < DOWNLOAD_TRIES:
            before = received
            try:
                url = await self._url(object_id)
                headers = {"Range": f"bytes={received}-"} if received else {}
                async with self._client.get(url, headers=headers, proxy=proxy_for(url)) as response:
                    if response.status in (200, 206):
                        skip = received if response.status == 200 else 0
                        async for block in response.content.iter_chunked(DOWNLOAD_BLOCK):
                            if skip >= len(block):
                                skip -= len(block)
                                continue
                            block, skip = block[skip:], 0
                            received += len(block)
                            yield block
                        self._urls.pop(object_id, None)
                        return
                    if response.status in (404, 410):
                        raise FailedJobError(
                            f"An object of the job is gone (HTTP {response.status}): the retry asks for a new one.",
                            type="NotFound",
                        )
                    problem = f"HTTP {response.status}"
                    if response.status < 500:
                        self._forget(object_id)
            except (aiohttp.ClientError, TimeoutError) as error:
                # The text of the error may hold the signed URL.
                problem = type(error).__name__
            failures = 0 if received > before else failures + 1
            log.info("The download of an object stopped after %s bytes (%s); resuming.", received, problem)
            if failures < DOWNLOAD_TRIES:
                await asyncio.sleep(2.0**failures * DOWNLOAD_PAUSE_S)
        raise TransientError(
            f"An object of the job could not be downloaded ({problem} after {received} bytes): it will be retried.",
            type=problem,
        )

    # -- URLs ------------------------------------------------------------------------------------

    async def _url(self, object_id: str) -> str:
        """A URL that has not expired; if there is none, those of the next objects are fetched along with it."""
        url, until = self._urls.get(object_id, ("", 0.0))
        if time.monotonic() < until:
            return url
        place = self._objects.index(object_id) if object_id in self._objects else len(self._objects)
        following = [part for part in self._objects[place + 1 :] if self._has_expired(part)]
        wanted = [object_id, *following[: URLS_PER_CALL - 1]]
        urls = await self._ask(wanted)
        until = time.monotonic() + URL_LIFE_S
        self._urls.update((part, (urls[part], until)) for part in wanted if part in urls)
        if object_id not in urls:
            raise FailedJobError(
                "DAP returned no URL for an object of the job: the retry asks for a new one.", type="NotFound"
            )
        return urls[object_id]

    async def _ask(self, wanted: list[str]) -> dict[str, str]:
        """Ask for URLs, each time in a turn; while DAP answers 429, wait."""
        refused = failed = 0
        while True:
            await self._session.pacer.turn("object", self._connection)
            try:
                return await self._session.urls(wanted)
            except WaitError as busy:
                refused += 1
                if refused == URL_TRIES or busy.type != TOO_MANY_REQUESTS:
                    raise
                log.info("%s", busy.message)
            except FailedJobError:
                raise
            except TransientError:
                failed += 1
                if failed == SERVER_TRIES:
                    raise
                await asyncio.sleep(2.0**failed * DOWNLOAD_PAUSE_S)

    def _has_expired(self, object_id: str) -> bool:
        return time.monotonic() >= self._urls.get(object_id, ("", 0.0))[1]

    def _forget(self, object_id: str) -> None:
        """A URL was refused: those that were signed with it, or before it, have expired too."""
        _, until = self._urls.get(object_id, ("", 0.0))
        self._urls = {part: kept for part, kept in self._urls.items() if kept[1] > until}
