"""The steps of a table one after the other in one process, as the DAG runs them in several; benchmarks use it too."""

from __future__ import annotations

from cd2.replication.errors import Cd2Error
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import Action, TableResult
from cd2.replication.verification.verifier import Verifier


async def sync(replicator: Replicator, table: TableName | str, *, full_refresh: bool = False) -> TableResult:
    """What `sync_table` does: needs_init, or the table is brought up to date.

    :raises Cd2Error: the attempt failed.
    """
    name = _name(table)
    try:
        since = await replicator.cursor(name)
        if since is None or full_refresh:
            return TableResult(name, "sync", "needs_init")
        job_id = await replicator.ask(name, since)
    except Cd2Error as failure:
        return await replicator.failed(name, "sync", failure)
    return await replicator.load(name, job_id, "sync")


async def init(replicator: Replicator, table: TableName | str) -> TableResult:
    """What `init_table` does.

    :raises Cd2Error: the attempt failed.
    """
    name = _name(table)
    try:
        job_id = await replicator.ask(name, None)
    except Cd2Error as failure:
        return await replicator.failed(name, "init", failure)
    return await replicator.load(name, job_id, "init")


async def verify(
    replicator: Replicator, table: TableName | str, *, repair: bool = False, requested: bool = True
) -> TableResult:
    """What `sync_table` does with a table that is to be verified.

    :raises Cd2Error: the attempt failed.
    """
    name = _name(table)
    cursor = await replicator.cursor(name)
    if cursor is None:
        return TableResult(name, "sync", "needs_init")
    try:
        snapshot, changes = await Verifier(replicator).ask(name, cursor, tries=3, place=None)
    except Cd2Error as failure:
        return await replicator.failed(name, "sync", failure)
    return await Verifier(replicator).verify(name, snapshot, changes, repair=repair, requested=requested)


async def load_job(replicator: Replicator, table: TableName | str, job_id: str, action: Action) -> TableResult:
    """Load one certain job, whatever is noted about the table.

    :raises Cd2Error: the attempt failed.
    """
    return await replicator.load(_name(table), job_id, action)


def _name(table: TableName | str) -> TableName:
    return TableName.parse(table) if isinstance(table, str) else table
