"""One init or sync by our engine in its own process: `python -m benchmarks.run_ours init canvas users`.

The variable CD2_BENCH has the options (JSON: base_url, client_id, client_secret and the fields of DatabaseTarget).
Prints one line of JSON: `work_s`, the seconds without starting Python and importing.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
from typing import Any

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from tests.steps import init, sync

JOB_CREATIONS_PER_MINUTE = 6000
"""So high that nobody waits for a turn."""


async def work(action: str, namespace: str, table: str, options: dict[str, Any]) -> TableResult:
    """Prepare the database, as the DAG does, and load one table."""
    credentials = DapCredentials(*(options[name] for name in ("base_url", "client_id", "client_secret")))
    fields = [field.name for field in dataclasses.fields(DatabaseTarget)]
    target = DatabaseTarget(**{name: options[name] for name in fields})
    replicator = Replicator(credentials, target, JOB_CREATIONS_PER_MINUTE)
    await replicator.prepare([namespace])
    run = init if action == "init" else sync
    return await run(replicator, TableName(namespace, table))


def main() -> int:
    """Run the load; :returns: 1 if the table did not end in the expected state."""
    action, namespace, table = sys.argv[1:]
    options = json.loads(os.environ["CD2_BENCH"])
    started = time.perf_counter()
    result = asyncio.run(work(action, namespace, table, options))
    seconds = time.perf_counter() - started
    wanted = "initialized" if action == "init" else "complete"
    if result.state != wanted:
        print(f"the {action} of {namespace}.{table} ended as {result.state}, not {wanted}", file=sys.stderr)
        return 1
    print(json.dumps({"work_s": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
