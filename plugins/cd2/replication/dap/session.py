"""The official client's session as we use it: paced, without tracking, with our errors.

A job is created, polled and loaded in separate steps, so that another process can pick it up by its id
(`cd2.replication.dap.jobs`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from dap.api import DAPClientError, DAPSession
from dap.dap_error import AuthenticationError, NotFoundError, ServerError
from dap.dap_types import (
    CompleteIncrementalJob,
    CompleteSnapshotJob,
    Credentials,
    FailedJob,
    Format,
    IncrementalQuery,
    Mode,
    Object,
    ResourceResult,
    SnapshotQuery,
    VersionedSchema,
)
from dap.dap_types import Job as ClientJob
from strong_typing.serialization import json_dump_string, object_to_json

from cd2.replication.dap import answers
from cd2.replication.dap.proxies import proxy_for
from cd2.replication.errors import FailedJobError, RefusedCredentials, TransientError, WaitError

if TYPE_CHECKING:
    from cd2.replication.dap.pacing import Endpoint, Pacer
    from cd2.replication.names import TableName

log = logging.getLogger(__name__)

T = TypeVar("T")

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30 * 60, connect=30, sock_read=5 * 60)
DEFAULT_RETRY_AFTER_S = 60.0
LONGEST_RETRY_AFTER_S = 30 * 60.0
"""DAP may say more: whoever asks again too early hears the next 429, but a wrong number must not stop us for days."""
TOO_MANY_REQUESTS = "TooManyRequests"
PACED: dict[str, Endpoint] = {"data": "data", "url": "object"}
"""The calls whose 429 pushes the shared clock back, by the end of their path."""


@dataclass(frozen=True)
class DapCredentials:
    """Where the DAP service is and the key for it."""

    base_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class Job:
    """DAP's work on one question.

    :param done: its objects can be loaded.
    :param since: start of an incremental (UTC); None for a snapshot, and while it is not done.
    :param as_of: the moment whose state its rows lead to (UTC); None while it is not done.
    :param schema_version: version of the schema of its rows.
    :param objects: ids of its objects, in order.
    """

    id: str
    done: bool
    since: datetime | None = None
    as_of: datetime | None = None
    schema_version: int = 0
    objects: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.as_of is None:
            return f"job {self.id} is not done"
        rows = "all rows" if self.since is None else f"changes since {self.since.isoformat()}"
        return f"job {self.id} is done: {rows}, {len(self.objects)} object(s), as of {self.as_of.isoformat()}."


class DapSession(DAPSession):
    """The official client's session: paced, able to log in again, with our errors. To be entered, or closed.

    It logs in at its first call. Several tables may use it at once.

    :raises ValueError: an empty client id or secret.
    :raises StopAll: see `proxy_for`.
    """

    def __init__(self, credentials: DapCredentials, pacer: Pacer) -> None:
        # The client logs pre-signed URLs at DEBUG.
        logging.getLogger("dap").setLevel(logging.INFO)
        super().__init__(
            aiohttp.ClientSession(timeout=REQUEST_TIMEOUT, proxy=proxy_for(credentials.base_url)),
            credentials.base_url.rstrip("/"),
            Credentials.create(client_id=credentials.client_id, client_secret=credentials.client_secret),
            None,  # no tracking: the client would send data to a third party's analytics host
        )
        self.pacer = pacer
        self._logging_in = asyncio.Lock()

    async def __aenter__(self) -> DapSession:
        """Nothing to do; the first call authenticates."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    # -- what is there ---------------------------------------------------------------------------

    async def get_tables(self, namespace: str) -> list[str]:
        """Names of the tables that DAP offers in a namespace."""
        await self.pacer.turn("list")
        tables: list[str] = await super().get_tables(namespace)
        return tables

    async def schema(self, table: TableName) -> VersionedSchema:
        """The newest schema of a table."""
        return await self.get_table_schema(table.namespace, table.table)

    # -- jobs ------------------------------------------------------------------------------------

    async def start(self, table: TableName, since: datetime | None) -> Job:
        """Ask for a table's changes since a point in time (UTC), or for a snapshot (None). Call it when it is our turn.

        :raises WaitError: DAP answered 429; the shared clock has been pushed back.
        """
        query: SnapshotQuery | IncrementalQuery
        if since is None:
            query = SnapshotQuery(format=Format.TSV, mode=Mode.condensed)
        else:
            query = IncrementalQuery(format=Format.TSV, mode=Mode.condensed, since=since, until=None)
        return _job(await self._post_once(f"/dap/query/{table.namespace}/table/{table.table}/data", query, ClientJob))

    async def job(self, job_id: str) -> Job:
        """The state of a job.

        :raises FailedJobError: it failed.
        """
        return _job(await self.get_job(job_id))

    async def urls(self, object_ids: Sequence[str]) -> dict[str, str]:
        """Signed URLs of objects, by id. Call it when it is our turn; see `cd2.replication.dap.downloads`.

        :raises WaitError: DAP answered 429; the shared clock has been pushed back.
        :raises FailedJobError: DAP no longer has one of them.
        """
        answer = await self._post_once("/dap/object/url", [Object(part) for part in object_ids], ResourceResult)
        return {part: str(resource.url) for part, resource in answer.urls.items()}

    # -- inside ----------------------------------------------------------------------------------

    async def _post_once(self, path: str, question: Any, response_type: Any) -> Any:
        # Not through the client's `_post`, which would retry a 429 three times without taking a turn.
        async def post() -> Any:
            await self.authenticate()
            async with self._session.post(
                f"{self._base_url}{path}",
                data=json_dump_string(object_to_json(question)),
                headers={"Content-Type": "application/json"} | self._headers,
            ) as response:
                return await self._process(response, response_type)

        return await self._authorized(post)

    async def _get(self, path: str, response_type: type[T]) -> T:
        async def get() -> T:
            answer: T = await super(DapSession, self)._get(path, response_type)
            return answer

        return await self._authorized(get)

    async def _post(self, path: str, request_data: Any, response_type: type[T]) -> T:
        async def post() -> T:
            answer: T = await super(DapSession, self)._post(path, request_data, response_type)
            return answer

        return await self._authorized(post)

    async def authenticate(self) -> None:
        """Log in, unless our token is still valid; once for all who ask at the same time."""
        async with self._logging_in:
            await super().authenticate()

    async def _authorized(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call; if our login or our token is refused, log in again and call once more.

        One refusal proves nothing: a token may have expired on the way, and a gateway may err.
        """
        token = self._access_token
        try:
            return await call()
        except (AuthenticationError, RefusedCredentials):
            if self._access_token is token or token is None:
                self._access_token = None
        return await call()

    async def _process(self, response: aiohttp.ClientResponse, *args: Any, **kwargs: Any) -> Any:
        # The client loses the status of such a response and raises a ProcessingError with an empty text.
        if response.status == 429:
            wait = _retry_after(response)
            if response.method == "POST" and (endpoint := PACED.get(response.url.path.rpartition("/")[2])):
                await self.pacer.push_back(endpoint, wait)
            raise WaitError(
                f"DAP answered 429 (too many requests) for {response.url.path}: another program may use the "
                f"same key. Retry after {wait:.0f} s.",
                type=TOO_MANY_REQUESTS,
                seconds=wait,
            )
        if response.status >= 500:
            raise TransientError(
                f"DAP answered {response.status} for {response.url.path}: the service failed. It will be retried.",
                type=f"HTTP {response.status}",
            )
        try:
            return await super()._process(response, *args, **kwargs)
        except NotFoundError as missing:
            failure = answers.missing(missing, response.url.path)
        except (ServerError, DAPClientError):
            failure = await answers.unread(response)
        raise failure


def _job(job: Any) -> Job:
    if isinstance(job, FailedJob):
        raise FailedJobError(
            f"The DAP job {job.id} failed ({job.error.message or 'no reason given'}): the retry asks for a new one.",
            type=job.error.type,
            uuid=job.error.uuid,
        )
    if isinstance(job, CompleteIncrementalJob):
        return Job(job.id, True, job.since, job.until, job.schema_version, tuple(part.id for part in job.objects))
    if isinstance(job, CompleteSnapshotJob):
        return Job(job.id, True, None, job.at, job.schema_version, tuple(part.id for part in job.objects))
    if job.status.isTerminal():
        raise FailedJobError(f"The DAP job {job.id} ended as {job.status.value}: the retry asks for a new one.")
    return Job(job.id, False)


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds, from either form of the header."""
    text = response.headers.get("Retry-After", "").strip()
    seconds = DEFAULT_RETRY_AFTER_S
    if text.isdecimal():
        seconds = float(text)
    elif text:
        with suppress(ValueError):
            seconds = max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return min(seconds, LONGEST_RETRY_AFTER_S)
