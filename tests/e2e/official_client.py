"""The official client's own command line on a stack's service and replica."""

import os
import subprocess
import sys
from pathlib import Path

from local.stack import StackClient


def dap(stack: StackClient, *arguments: str) -> str:
    """Run `dap ARGUMENTS`; fails the test with what it printed if it fails."""
    environment = {
        **os.environ,
        "DAP_API_URL": stack.simulator_url,
        "DAP_CLIENT_ID": stack.folder.secret("dap_client_id"),
        "DAP_CLIENT_SECRET": stack.folder.secret("dap_client_secret"),
        "DAP_CONNECTION_STRING": stack.replica_dsn,
        "DAP_TRACKING": "false",
    }
    program = Path(sys.executable).with_name("dap")
    command = [str(program), "--non-interactive", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
