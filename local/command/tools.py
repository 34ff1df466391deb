"""`make psql`, `compare`, `dap` and `dictionary`: tools for the replica, whether or not the stack is up."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from local.command import report
from local.compare import compare
from local.errors import LocalStackError
from local.postgres import installation
from local.settings import REPOSITORY, Options
from local.simulator.catalogue import NAMESPACES
from local.stack import Stack
from local.stack.client import StackClient


@contextlib.contextmanager
def _reachable(options: Options, *, simulator: bool) -> Iterator[StackClient]:
    """The running stack; if none runs, the parts that are needed, until the end of the block."""
    client = StackClient(options.directory)
    if client.folder.state()["status"] == "running":
        yield client
        return
    if not client.folder.exists:
        raise LocalStackError("There is no replica yet; `make run` makes one.")
    stack = Stack.from_options(options, "make psql, compare, dap or dictionary")
    stack.start_only(simulator=simulator)
    try:
        yield stack
    finally:
        stack.stop()


def _run(argv: Sequence[str], environment: dict[str, str]) -> int:
    """Run a program in the foreground; Ctrl-C goes to it, not to us."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            argv,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def psql(options: Options, arguments: Sequence[str]) -> int:
    """psql on the replica, with all namespaces on the search path."""
    with _reachable(options, simulator=False) as stack:
        environment = os.environ | {
            "PGPASSFILE": str(stack.folder.pgpass),
            "PGOPTIONS": f"-c search_path={','.join((*NAMESPACES, 'public'))}",
        }
        port = str(stack.folder.port("postgres"))
        program = str(installation() / "bin" / "psql")
        return _run([program, "-h", "127.0.0.1", "-p", port, "-U", "cd2", *arguments, "cd2"], environment)


def compare_replica(options: Options, console: Console) -> int:
    """Compare the replica with the simulator's truth; TABLES and NAMESPACES choose."""
    with _reachable(options, simulator=True) as stack:
        wanted = options.wanted(stack.simulator.tables())
        equal = report.print_comparison(console, compare(stack.simulator_url, stack.replica_dsn, wanted))
    return 0 if equal else 1


def dap(options: Options, arguments: Sequence[str]) -> int:
    """The official client's command line, against simulator and replica; its usage tracking is off."""
    with _reachable(options, simulator=True) as stack:
        environment = os.environ | {
            "DAP_API_URL": stack.simulator_url,
            "DAP_CLIENT_ID": stack.folder.secret("dap_client_id"),
            "DAP_CLIENT_SECRET": stack.folder.secret("dap_client_secret"),
            "DAP_CONNECTION_STRING": stack.replica_dsn,
            "DAP_TRACKING": "false",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        program = Path(sys.executable).with_name("dap")
        return _run([str(program), *(arguments or ["--help"])], environment)


def dictionary(options: Options) -> int:
    """The data dictionary as one HTML file (OUT): of the replica, or of the database of one's own that CD2_DSN names.

    The address is in the environment of the program, not in its arguments: it has a password.
    """
    out = os.environ.get("OUT", "").strip()
    file = Path(out or options.directory / "dictionary.html").expanduser().resolve()
    argv = [sys.executable, "-m", "cd2.dictionary", str(file)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "plugins")}
    if environment.get("CD2_DSN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        return _run(argv, environment)
    with _reachable(options, simulator=False) as stack:
        return _run(argv, environment | {"CD2_DSN": stack.replica_dsn})
