"""Is a replica equal to what the simulator says is true? Every value of every column of every row of every table.

Independent of how the replica came about: typed values from the simulator on one side, what PostgreSQL returns on the
other, both in key order, compared as streams. Imports only `local.simulator.control`.
"""

from local.compare.difference import TableDifference
from local.compare.tables import compare

__all__ = ["TableDifference", "compare"]
