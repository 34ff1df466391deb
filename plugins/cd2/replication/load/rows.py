"""All objects of a finished job as one stream for COPY, with progress reports."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from cd2.replication.errors import TableFailure
from cd2.replication.load.objects import ObjectStream, Tally

if TYPE_CHECKING:
    from types import TracebackType

    from cd2.replication.dap.session import Job
    from cd2.replication.names import TableName
    from cd2.replication.schema.model import TableModel

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 10.0
MISSING_COLUMN = "MissingColumn"
_OF_DATES = ("timestamp", "date")
"""Beginnings of the types whose values have a year."""


@dataclass(frozen=True)
class Progress:
    """How far a load is.

    :param rows: loaded so far; they are applied after the last one.
    :param bytes: downloaded so far, compressed.
    :param seconds: since the load began.
    :param objects: how many of the job's objects are loaded, and how many there are.
    """

    table: TableName
    rows: int
    bytes: int
    seconds: float
    objects: tuple[int, int]

    def __str__(self) -> str:
        rate = self.rows / max(self.seconds, 0.001)
        done, of = self.objects
        return (
            f"{self.table}: {self.rows:,} rows loaded, {self.bytes / 1e6:,.1f} MB downloaded, {rate:,.0f} rows/s, "
            f"{done} of {of} objects done"
        )


def log_progress(progress: Progress) -> None:
    """Log how far a long load is."""
    log.info("%s", progress)


class JobRows:
    """The rows of a finished job for COPY. A context manager: entering it opens the first object.

    :param download: yields the compressed bytes of an object, by its id.
    :param tally: counts rows and bytes.
    :param report: called about every `PROGRESS_EVERY_S` seconds.
    """

    def __init__(
        self,
        download: Callable[[str], AsyncIterator[bytes]],
        job: Job,
        table: TableName,
        tally: Tally,
        report: Callable[[Progress], None],
    ) -> None:
        self._download = download
        self._job = job
        self._table = table
        self._report = report
        self.tally = tally
        self._started = self._reported = time.monotonic()
        self._done = 0
        self._next: ObjectStream | None = None

    async def __aenter__(self) -> JobRows:
        """Open the first object: its header names the columns of the data."""
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the object that is open."""
        if self._next is not None:
            await self._next.close()

    @property
    def incremental(self) -> bool:
        """Whether the rows are changes, with an action each."""
        return self._job.since is not None

    @property
    def empty(self) -> bool:
        """Whether there are no rows."""
        return self._next is None or (len(self._job.objects) == 1 and self._next.empty)

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns of the data; none, if there is no object."""
        return frozenset(_plain(name) for name in self._next.columns) if self._next else frozenset()

    async def copy(self, connection: asyncpg.Connection, model: TableModel, schema: str, table: str, meta: bool) -> int:
        """COPY all objects into a table that has the model's columns, and `meta.*` if `meta`; also once more.

        :returns: how many rows PostgreSQL says that it copied.
        :raises TableFailure: the data lacks a column of the schema, or PostgreSQL copied other than all lines.
        """
        copied, before = 0, self.tally.rows
        if self._done:
            self._done = 0
            await self._open()
        while self._next is not None:
            copied += await self._copy(self._next, connection, model, schema, table, meta)
        if copied != self.tally.rows - before:
            raise TableFailure(
                f"{self._table}: PostgreSQL copied {copied:,} of the {self.tally.rows - before:,} lines of job "
                f"{self._job.id}. Nothing was changed; report this table to Instructure."
            )
        if self.tally.repaired:
            log.warning(
                "%s: %s row(s) held characters that PostgreSQL cannot store (NUL, or bytes that are not UTF-8); "
                "each was replaced by U+FFFD.",
                self._table,
                self.tally.repaired,
            )
        return copied

    async def _open(self) -> None:
        """Open the next object, if there is one."""
        self._next = None
        if self._done < len(self._job.objects):
            stream = ObjectStream(self._download(self._job.objects[self._done]), self._table, self.tally)
            try:
                await stream.open()
            except BaseException:
                await stream.close()
                raise
            self._next = stream

    async def _copy(
        self,
        stream: ObjectStream,
        connection: asyncpg.Connection,
        model: TableModel,
        schema: str,
        table: str,
        meta: bool,
    ) -> int:
        self._check_header(stream.columns, model)
        by_name = {column.source: column for column in model.columns}
        wanted = [name for name in stream.columns if _plain(name) in by_name or (meta and name.startswith("meta."))]
        json = [name for name in wanted if (c := by_name.get(_plain(name))) and (c.json or c.array)]
        times = [name for name in wanted if (c := by_name.get(_plain(name))) and c.type.startswith(_OF_DATES)]
        status: str = await connection.copy_to_table(
            table,
            schema_name=schema,
            columns=[c.name if (c := by_name.get(_plain(name))) else name for name in wanted],
            source=self._with_progress(self._rows(stream.columns, wanted, json, times)),
            # Nobody sees rows of a table created in this transaction before the commit: they can be frozen at once.
            freeze=True,
        )
        return int(status.split()[-1])

    async def _rows(
        self, columns: Sequence[str], wanted: Sequence[str], json: Sequence[str], times: Sequence[str]
    ) -> AsyncIterator[bytes]:
        """The rows of all objects up to one with other columns: a COPY for each would wait for the server each time."""
        while self._next is not None and self._next.columns == columns:
            try:
                async for block in self._next.rows(wanted, json, times):
                    yield block
            finally:
                await self._next.close()
            self._done += 1
            await self._open()

    async def _with_progress(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            yield block
            now = time.monotonic()
            if now - self._reported >= PROGRESS_EVERY_S:
                self._reported = now
                self._report(
                    Progress(
                        self._table,
                        self.tally.rows,
                        self.tally.bytes,
                        now - self._started,
                        (self._done, len(self._job.objects)),
                    )
                )

    def _check_header(self, columns: Sequence[str], model: TableModel) -> None:
        names = {_plain(name) for name in columns}
        wanted = {column.source for column in model.columns} | ({"meta.action"} if self.incremental else set())
        if missing := sorted(wanted - names):
            raise TableFailure(
                f"{self._table}: the data of job {self._job.id} lacks {', '.join(missing)}, which its schema "
                f"(version {self._job.schema_version}) has. Nothing was changed; report this table to Instructure.",
                type=MISSING_COLUMN,
            )
        # Columns that the schema no longer has are left out; new columns cannot come before their schema.
        if unknown := sorted(name for name in columns if _plain(name) not in wanted and not name.startswith("meta.")):
            log.info(
                "%s: ignoring columns of the data that its schema does not have (anymore): %s.",
                self._table,
                ", ".join(unknown),
            )


def _plain(name: str) -> str:
    for prefix in ("key.", "value."):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
