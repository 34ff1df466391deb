"""The official client, in a process of its own per command.

It leaves its classes behind and knows its types by identity: the second command of a process may do something else
than the first. `python -m tests.replication.client_process` is one command; the DSN comes by the environment.
"""

import asyncio
import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext

from dap.api import DAPClient
from dap.dap_types import Credentials
from dap.integration.database import DatabaseConnection
from dap.replicator.sql import SQLReplicator

from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from tests.replication.waiting import WAIT_S

DSN = "CD2_TEST_DSN"


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Imported once, by the server that the processes are forked from.
    context.set_forkserver_preload([__name__])
    return context


def client(base_url: str, dsn: str, action: str, namespace: str, *tables: str) -> None:
    """`initdb` or `syncdb` of these tables, as the client's command line does them.

    :raises AssertionError: the client failed; it has printed why.
    """
    for table in tables:
        process = _context().Process(target=_run, args=(base_url, dsn, action, namespace, table))
        process.start()
        process.join(WAIT_S)
        assert process.exitcode == 0, f"the official client's {action} of {namespace}.{table} failed"


def _run(base_url: str, dsn: str, action: str, namespace: str, table: str) -> None:
    async def work() -> None:
        credentials = Credentials.create(client_id=DEFAULT_CLIENT_ID, client_secret=DEFAULT_CLIENT_SECRET)
        async with DAPClient(base_url, credentials, tracking=False) as session:
            replicator = SQLReplicator(session, DatabaseConnection(dsn))
            await replicator.version_upgrade()
            await {"initdb": replicator.initialize, "syncdb": replicator.synchronize}[action](namespace, table)

    try:
        asyncio.run(work())
    except Exception as error:
        print(f"{type(error).__name__}: {error} ({error.__cause__})", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    _run(sys.argv[1], os.environ[DSN], *sys.argv[2:])
