"""One init, sync or verification by our engine in its own process: `python -m benchmarks.run_ours init canvas users`.

The variable CD2_BENCH has the options (JSON: base_url, client_id, client_secret and the fields of DatabaseTarget).
Prints one line of JSON: `work_s`, the seconds without starting Python, importing, preparing the database and opening
the connection on which all tables wait.
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
from tests.steps import init, sync, verify

JOB_CREATIONS_PER_MINUTE = 6000
"""So high that nobody waits for a turn."""
POOLED = 3


async def work(action: str, namespace: str, table: str, options: dict[str, Any]) -> tuple[TableResult, float]:
    """Prepare the database, as the DAG does once for all tables, and load one.

    :returns: the result, and how long the load took, in seconds.
    """
    credentials = DapCredentials(*(options[name] for name in ("base_url", "client_id", "client_secret")))
    fields = [field.name for field in dataclasses.fields(DatabaseTarget)]
    target = DatabaseTarget(**{name: options[name] for name in fields})
    # As in the triggerer, the statements of a wait share their connections.
    replicator = Replicator(credentials, target, JOB_CREATIONS_PER_MINUTE, pooled=POOLED)
    try:
        await replicator.prepare([namespace])
        await replicator.stopped(())  # any statement of the waits
        started = time.perf_counter()
        name = TableName(namespace, table)
        if action in ("verify", "repair"):
            result = await verify(replicator, name, repair=action == "repair")
            if result.verification is None or result.verification.outcome not in ("equal", "repaired"):
                raise SystemExit(f"The verification of {name} ended with {result.verification}.")
        else:
            result = await (init if action == "init" else sync)(replicator, name)
        return result, time.perf_counter() - started
    finally:
        await replicator.close()


def main() -> int:
    """Run the load; :returns: 1 if the table did not end in the expected state."""
    action, namespace, table = sys.argv[1:]
    options = json.loads(os.environ["CD2_BENCH"])
    result, seconds = asyncio.run(work(action, namespace, table, options))
    wanted = "initialized" if action == "init" else "complete"
    if result.state != wanted:
        print(f"the {action} of {namespace}.{table} ended as {result.state}, not {wanted}", file=sys.stderr)
        return 1
    print(json.dumps({"work_s": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
