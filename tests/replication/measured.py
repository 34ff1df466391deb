"""`python -m tests.replication.measured ACTION TABLE`: one action in a process of its own, and the memory it took.

`list` lists the tables of a namespace, which is then named in place of a table.

Where the simulator and the database are comes by the environment, as JSON; so do secrets.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from pathlib import Path

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.replicator import Replicator
from tests.steps import init, sync

VARIABLE = "CD2_TEST_MEASURED"


def peak() -> int:
    """The most memory that this process has ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Do it."""
    where = json.loads(os.environ[VARIABLE])
    replicator = Replicator(DapCredentials(**where["dap"]), DatabaseTarget(**where["database"]), 60_000)
    before = peak()
    action, table = sys.argv[1:]
    if action == "list":
        rows = len(asyncio.run(replicator.list_tables(table)))
    else:
        rows = asyncio.run({"init": init, "sync": sync}[action](replicator, table)).rows_upserted
    print(json.dumps({"before": before, "peak": peak(), "rows": rows}))


if __name__ == "__main__":
    main()
