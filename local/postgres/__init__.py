"""An embedded PostgreSQL 16: real server programs from PyPI, no installation, no Docker, root or not.

Imports `local.databases` and `local.processes`; tests and benchmarks use it without the rest of the stack.
"""

from local.postgres.installation import installation
from local.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "installation"]
