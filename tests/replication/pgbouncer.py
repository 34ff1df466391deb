"""The real PgBouncer: from the PATH, or from Debian's packages without installing them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from local.databases import PostgresServer
from local.processes.ports import free_port
from tests.replication.waiting import wait_until

TOOLS = Path(__file__).parents[2] / ".venv" / "pgbouncer"
PACKAGES = ("pgbouncer", "libc-ares2")
CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={backend_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits
logfile = {folder}/log
{more}
"""


@cache
def program() -> tuple[list[str], dict[str, str]]:
    """The command and its environment; skips the test if there is none for this machine."""
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found:
        return [found], dict(os.environ)
    TOOLS.parent.mkdir(exist_ok=True)
    with FileLock(f"{TOOLS}.lock"), suppress(OSError, subprocess.SubprocessError):
        if not (TOOLS / "usr").is_dir():
            TOOLS.mkdir(exist_ok=True)
            quiet = {"cwd": TOOLS, "check": True, "capture_output": True, "timeout": 120}
            subprocess.run(["apt-get", "download", *PACKAGES], **quiet)  # type: ignore[call-overload]
            for package in TOOLS.glob("*.deb"):
                subprocess.run(["dpkg", "-x", package.name, "."], **quiet)  # type: ignore[call-overload]
    libraries = ":".join(str(path) for path in (TOOLS / "usr" / "lib").glob("*-linux-gnu"))
    command = [str(TOOLS / "usr" / "sbin" / "pgbouncer")]
    environment = os.environ | {"LD_LIBRARY_PATH": libraries}
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run([*command, "--version"], env=environment, check=True, capture_output=True, timeout=30)
        return command, environment
    pytest.skip("PgBouncer is not installed, and Debian's package cannot be had here")


@contextmanager
def pgbouncer(
    server: PostgresServer, folder: Path, mode: str, users: dict[str, str], size: int = 5, more: str = ""
) -> Iterator[int]:
    """PgBouncer in front of a server; its port.

    :param users: passwords by name.
    :param size: how many sessions a user may have at once in a database.
    """
    command, environment = program()
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "users").write_text("".join(f'"{name}" "{password}"\n' for name, password in users.items()))
    configuration = folder / "ini"
    configuration.write_text(
        CONFIGURATION.format(backend_port=server.port, port=port, folder=folder, mode=mode, size=size, more=more)
    )
    as_other = []
    if os.geteuid() == 0:  # it refuses to run as root
        for path in (folder, *folder.parents):
            if path == Path("/tmp"):
                break
            path.chmod(path.stat().st_mode | 0o055)
        shutil.chown(folder, "nobody")
        for path in folder.iterdir():
            shutil.chown(path, "nobody")
        as_other = ["-u", "nobody"]
    running = subprocess.Popen(
        [*command, *as_other, "-q", str(configuration)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port))
        yield port
    finally:
        running.terminate()
        running.wait(30)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
