"""The local stack as one object: PostgreSQL, the DAP simulator, AWS services and Airflow, in one folder.

`Stack` runs it, `StackClient` uses a running one; imports everything below `local` but the commands.
"""

from local.stack.client import StackClient
from local.stack.stack import Stack

__all__ = ["Stack", "StackClient"]
