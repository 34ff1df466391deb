"""A table that is behind DAP, so that somebody has to ask for its changes."""

from __future__ import annotations

from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import run
from tests.steps import init

NAMESPACE, TABLE = "canvas", "users"
NAME = f"{NAMESPACE}.{TABLE}"
TABLE_NAME = TableName.parse(NAME)


def behind(replicator: Replicator, simulator: SimulatorControl) -> Replicator:
    """Load the table, and give DAP newer rows."""
    run(init(replicator, NAME))
    simulator.advance(0.2, [NAME])
    simulator.reset_stats()
    return replicator


def jobs(simulator: SimulatorControl) -> int:
    """How many jobs were made."""
    made: int = simulator.stats()["jobs"].get(NAME, 0)
    return made
