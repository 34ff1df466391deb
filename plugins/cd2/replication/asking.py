"""How a table asks DAP: its turn and its job, the schema of the job's data, and the count of automatic snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cd2.replication.bookkeeping import freshness
from cd2.replication.dap import schemas
from cd2.replication.dap.jobs import CREATION_TRIES, InLine, JobRequest
from cd2.replication.errors import FailedJobError, StopAll, TableFailure
from cd2.replication.failures import in_our_words
from cd2.replication.load.obstacles import check_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from cd2.replication.dap.pacing import Pacer
    from cd2.replication.dap.session import DapSession
    from cd2.replication.database.connection import Replica
    from cd2.replication.names import TableName


@dataclass(frozen=True)
class Question:
    """What one table asks; the parameters are those of `Replicator.ask`."""

    pacer: Pacer
    replica: Replica
    table: TableName
    since: datetime | None
    tries: int = CREATION_TRIES
    place: InLine | None = None
    given_up: datetime | None = None
    requested: bool = True

    async def finished_job(self, session: Callable[[], AbstractAsyncContextManager[DapSession, None]]) -> str:
        """Wait until the job is done.

        :param session: opens a session at DAP, or lends the shared one.
        :returns: the job's id.
        :raises Cd2Error: what went wrong, in our words.
        """
        where = f"{self.table}: asking DAP"
        if self.since is None:
            with in_our_words(where):
                await check_place(self.replica, self.table)
        try:
            with in_our_words(where):
                async with session() as dap:
                    return await self._finished(dap)
        except (TableFailure, FailedJobError) as refused:
            if not isinstance(refused, StopAll):
                await self._count()
            raise

    async def _finished(self, session: DapSession) -> str:
        noted = schemas.Schemas(session, self.replica, self.table)

        async def created() -> None:
            await self._count()
            await noted.note()

        request = JobRequest(
            session, self.pacer, self.replica, self.table, self.since, self.tries, self.place, self.given_up, created
        )
        return (await noted.noted_for(await request.finished_job())).id

    async def _count(self) -> None:
        """An automatic snapshot counts towards the daily limit."""
        if not self.requested:
            await freshness.reinit_begins(self.replica, self.table)
