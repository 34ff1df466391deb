"""The DAP service as we use it: the official client's session, paced, accounted for, and without tracking."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from dap.api import DAPSession
from dap.dap_types import Credentials, IncrementalQuery, Job, Object, Resource, SnapshotQuery

from cd2.errors import TransientError, WaitError
from cd2.replication.pacing import Pacer

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30 * 60, connect=30, sock_read=5 * 60)
DEFAULT_RETRY_AFTER_S = 60.0
JOB_DEADLINE_S = 6 * 60 * 60
"""The longest we wait for one job; the official client polls a hung one for ever."""


@dataclass(frozen=True)
class DapCredentials:
    """Where the DAP service is and the key for it."""

    base_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass
class Transfer:
    """What one session did: for the result of a table. Bytes are compressed, as they came over the network."""

    job_id: str | None = None
    bytes_downloaded: int = 0
    rows_upserted: int = 0
    rows_deleted: int = 0


class PacedSession(DAPSession):
    """The official client's session, which takes a turn before each limited call and keeps account of the load."""

    def __init__(self, http: aiohttp.ClientSession, credentials: DapCredentials, pacer: Pacer) -> None:
        super().__init__(
            http,
            credentials.base_url,
            Credentials.create(client_id=credentials.client_id, client_secret=credentials.client_secret),
            None,  # no tracking: the client would post to a third party's analytics host
        )
        self._pacer = pacer
        self.transfer = Transfer()

    async def get_tables(self, namespace: str) -> list[str]:
        await self._pacer.turn("list")
        tables: list[str] = await super().get_tables(namespace)
        return tables

    async def query_snapshot(self, namespace: str, table: str, query: SnapshotQuery) -> Job:
        await self._pacer.turn("data")
        return await super().query_snapshot(namespace, table, query)

    async def query_incremental(self, namespace: str, table: str, query: IncrementalQuery) -> Job:
        await self._pacer.turn("data")
        return await super().query_incremental(namespace, table, query)

    async def await_job(self, job: Job) -> Job:
        self.transfer.job_id = job.id
        async with asyncio.timeout(JOB_DEADLINE_S):
            return await super().await_job(job)

    async def get_objects(self, job_id: str) -> list[Object]:
        self.transfer.job_id = job_id
        objects: list[Object] = await super().get_objects(job_id)
        return objects

    async def download_resource(self, resource: Resource, output_directory: str, decompress: bool = False) -> str:
        path: str = await super().download_resource(resource, output_directory, decompress)
        upserted, deleted = await asyncio.to_thread(_count_rows, Path(path))
        self.transfer.rows_upserted += upserted
        self.transfer.rows_deleted += deleted
        return path

    async def stream_resource(self, resource: Resource) -> AsyncIterator[aiohttp.StreamReader]:
        async for stream in super().stream_resource(resource):
            yield stream
            self.transfer.bytes_downloaded += stream.total_bytes

    async def _process(self, response: aiohttp.ClientResponse, *args: Any, **kwargs: Any) -> Any:
        # The client loses the status of such an answer and raises a ProcessingError with an empty text.
        if response.status == 429:
            wait = _retry_after(response)
            if response.method == "POST" and response.url.path.endswith("/data"):
                await self._pacer.push_back("data", wait)
            raise WaitError(
                f"DAP answered 429 (too many requests a minute) for {response.url.path}: another program may use the "
                f"same key. It is tried again after {wait:.0f} s.",
                type="TooManyRequests",
            )
        if response.status >= 500:
            raise TransientError(
                f"DAP answered {response.status} for {response.url.path}: a failure of the service. It is tried again.",
                type=f"HTTP {response.status}",
            )
        return await super()._process(response, *args, **kwargs)


@asynccontextmanager
async def open_session(credentials: DapCredentials, pacer: Pacer) -> AsyncIterator[PacedSession]:
    """A session with DAP; it logs in at its first call.

    :raises ValueError: an empty client id or secret.
    """
    # The client logs pre-signed URLs at DEBUG.
    logging.getLogger("dap").setLevel(logging.INFO)
    session = PacedSession(aiohttp.ClientSession(timeout=REQUEST_TIMEOUT), credentials, pacer)
    try:
        yield session
    finally:
        await session.close()


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else DEFAULT_RETRY_AFTER_S


def _count_rows(path: Path) -> tuple[int, int]:
    """Rows to write and rows to delete in a decompressed TSV object; a snapshot has no `meta.action` column."""
    with path.open("rb") as file:
        header = file.readline().rstrip(b"\n").split(b"\t")
        if b"meta.action" not in header:
            return sum(1 for _ in file), 0
        action = header.index(b"meta.action")
        deleted = total = 0
        for line in file:
            total += 1
            deleted += line.split(b"\t", action + 1)[action] == b"D"
        return total - deleted, deleted
