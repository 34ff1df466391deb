"""What people do to the tables of Canvas, and whether these are right nevertheless."""

from __future__ import annotations

import psycopg

from local.compare import compare
from local.simulator.control import SimulatorControl

BOXES = "canvas.boxes"


def admin(database: str, statements: str) -> None:
    """Run statements as the owner of the server."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statements.encode())


def equal(simulator: SimulatorControl, database: str) -> bool:
    """Whether all values of Canvas in `BOXES` are right; people may have columns of their own."""
    (found,) = compare(simulator.base_url, database, [BOXES])
    return not (found.missing or found.superfluous or found.changed)
