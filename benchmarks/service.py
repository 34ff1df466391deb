"""The DAP simulator of the benchmarks: its tables, and jobs whose objects exist before anything is timed."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from dap.api import DAPClient, DAPSession
from dap.dap_types import (
    CompleteIncrementalJob,
    CompleteSnapshotJob,
    Credentials,
    Format,
    IncrementalQuery,
    Job,
    Mode,
    Object,
    Query,
    SnapshotQuery,
)

from benchmarks.competitors import base_environment
from benchmarks.shapes import NAMESPACE, SHAPES
from local.errors import LocalStackError
from local.processes.program import Component
from local.processes.supervisor import Supervisor
from local.simulator.control import SimulatorControl

POLL_S = 0.2
_FIRST_FIELD = re.compile(rb"^[^\t\n]*\t", re.MULTILINE)


@dataclass(frozen=True)
class Data:
    """The finished objects of a job.

    :param lines: without the headers.
    :param compressed, decompressed: bytes.
    :param until: the cursor after the job (`at` of a snapshot).
    """

    lines: int
    compressed: int
    decompressed: int
    until: datetime


class Service:
    """The simulator as a component of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.client_id, self.client_secret = "bench#client", secrets.token_urlsafe(18)
        self.url = ""
        self.control: SimulatorControl

    def start(self) -> None:
        """Start it with empty tables and without limits.

        :raises LocalStackError: it does not start.
        """
        state = self._supervisor.directory / "state"
        shutil.rmtree(state, ignore_errors=True)
        address = state / "address"
        argv = [sys.executable, "-m", "local.simulator", "--port", "0", "--state", str(state), "--rows", "0"]
        argv += [f"--{call}-limit=0" for call in ("list", "schema", "data", "job", "object")]
        environment = base_environment(str(self._supervisor.directory)) | {
            "CD2_SIMULATOR_CLIENT_ID": self.client_id,
            "CD2_SIMULATOR_CLIENT_SECRET": self.client_secret,
        }
        self._supervisor.start([Component("simulator", argv, address.exists, environment)])
        self.url = address.read_text().strip()
        self.control = SimulatorControl(self.url)

    @property
    def pid(self) -> int:
        """The pid of its process."""
        return self._supervisor.pid("simulator")

    def add_table(self, shape: str, rows: int) -> str:
        """Create a table; returns its name."""
        table = SHAPES[shape].table(rows)
        self.control.add_table(NAMESPACE, table, columns=SHAPES[shape].columns, rows=rows)
        return table

    def rows(self, table: str) -> int:
        """How many rows a table has now."""
        return int(self.control.tables()[f"{NAMESPACE}.{table}"]["rows"])

    def described(self, table: str) -> dict[str, Any]:
        """The description of a table, as a replica must have it."""
        truth: Iterator[dict[str, Any]] = self.control.truth(NAMESPACE, table)
        return next(truth)

    def jobs_created(self, table: str) -> int:
        """How many jobs were created for a table; one more means that a competitor waited for data to be generated."""
        return int(self.control.stats()["jobs"].get(f"{NAMESPACE}.{table}", 0))

    def snapshot(self, table: str, file: Path | None = None) -> Data:
        """Generate the snapshot that every competitor gets.

        :param file: where to put its decompressed lines, without header and without meta.ts.
        """
        return self._made(table, SnapshotQuery(format=Format.TSV, mode=Mode.condensed), file)

    def changes(self, table: str, since: datetime, file: Path | None = None) -> Data:
        """Generate the changes since a cursor, which every competitor gets.

        :param file: where to put their decompressed lines, without header and without meta.ts.
        """
        query = IncrementalQuery(format=Format.TSV, mode=Mode.condensed, since=since, until=None)
        return self._made(table, query, file)

    def _made(self, table: str, query: Query, file: Path | None = None) -> Data:
        async def run() -> Data:
            credentials = Credentials.create(client_id=self.client_id, client_secret=self.client_secret)
            async with DAPClient(base_url=self.url, credentials=credentials, tracking=False) as session:
                incremental = isinstance(query, IncrementalQuery)
                ask: Callable[..., Any] = session.query_incremental if incremental else session.query_snapshot
                return await _fetched(session, await ask(NAMESPACE, table, query), file)

        return asyncio.run(run())


async def _fetched(session: DAPSession, job: Job, file: Path | None) -> Data:
    while not job.status.isTerminal():
        await asyncio.sleep(POLL_S)
        job = await session.get_job(job.id)
    if not isinstance(job, CompleteSnapshotJob | CompleteIncrementalJob):
        raise LocalStackError(f"The simulator's job {job.id} failed; its log says why.")
    output = file.open("wb") if file else None
    try:
        sizes = [await _object(session, item, output) for item in await session.get_objects(job.id)]
    finally:
        if output is not None:
            output.close()
    lines, compressed, decompressed = (sum(column) for column in zip(*sizes, strict=True))
    return Data(lines, compressed, decompressed, job.at if isinstance(job, CompleteSnapshotJob) else job.until)


async def _object(session: DAPSession, item: Object, output: IO[bytes] | None) -> tuple[int, int, int]:
    """Download an object; returns its lines, and its bytes compressed and decompressed."""
    resource = (await session.get_resources([item]))[item.id]
    lines, compressed, decompressed = -1, 0, 0
    decompressor = zlib.decompressobj(wbits=31)
    rest = b""
    async for stream in session.stream_resource(resource):
        async for data in stream.iter_any():
            compressed += len(data)
            plain = decompressor.decompress(data)
            decompressed += len(plain)
            text, end, rest = (rest + plain).rpartition(b"\n")
            if end:
                block = text + end
                if lines < 0:
                    block = block.partition(b"\n")[2]
                    lines = 0
                lines += block.count(b"\n")
                if output is not None:
                    output.write(_FIRST_FIELD.sub(b"", block))
    if rest or not decompressor.eof:
        raise LocalStackError("The simulator sent an object that does not end with its last line.")
    return max(lines, 0), compressed, decompressed
