"""`cd2.schemas`: the schemas that DAP has described, because it describes only the newest.

The data of a job has the schema of the moment at which DAP made it. That may be gone when the job is loaded, so it is
noted when the job is asked for.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dap.dap_types import VersionedSchema

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.dap.session import DapSession, Job
    from cd2.replication.database.connection import Replica
    from cd2.replication.names import TableName

log = logging.getLogger(__name__)

VERSIONS = 10
"""How many versions of a table are kept. Jobs live for a day."""

_NOTE = f"""
WITH forgotten AS (
    DELETE FROM cd2.schemas WHERE namespace = $1 AND table_name = $2 AND version <= $3 - {VERSIONS}
)
INSERT INTO cd2.schemas AS s (namespace, table_name, version, description) VALUES ($1, $2, $3, $4)
ON CONFLICT (namespace, table_name, version) DO UPDATE SET description = excluded.description
WHERE s.description <> excluded.description"""

_READ = "SELECT description FROM cd2.schemas WHERE namespace = $1 AND table_name = $2 AND version = $3"


@dataclass
class Schemas:
    """Notes the schema of the data of one table's next job.

    :param version: the newest one noted so far; 0: none.
    """

    session: DapSession
    replica: Replica
    table: TableName
    version: int = 0

    async def note(self) -> None:
        """Note DAP's newest schema of the table.

        No failure: without the note, the load asks for it.
        """
        try:
            described = await self.session.schema(self.table)
            text = json.dumps(described.schema)
            await self.replica.row(_NOTE, self.table.namespace, self.table.table, described.version, text)
            self.version = described.version
        except Exception as error:
            log.info("%s: its schema could not be noted (%s).", self.table, type(error).__name__)

    async def noted_for(self, job: Job) -> Job:
        """The finished job; note the schema of its data, unless that is done."""
        if job.schema_version != self.version:
            await self.note()
        return job


async def described(
    session: DapSession, connection: asyncpg.Connection, table: TableName, job: Job, least: int
) -> VersionedSchema:
    """The schema of a finished job's data, if it was noted; otherwise the newest.

    :param least: the version that the table has already: not an older one.
    """
    text = await connection.fetchval(_READ, table.namespace, table.table, job.schema_version)
    if text and job.schema_version >= least:
        return VersionedSchema(json.loads(text), job.schema_version)
    return await session.schema(table)
