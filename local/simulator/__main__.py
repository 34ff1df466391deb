"""`python -m local.simulator`: run the DAP simulator."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from local.simulator.errors import CANNOT_START, OTHER_VERSION, ControlError, OtherVersionError, StateError
from local.simulator.service import control_api, dap, guide, store
from local.simulator.service.limits import DOCUMENTED, RateLimits
from local.simulator.service.tokens import Credentials
from local.simulator.settings import EMPTY, REUSE, Settings
from local.simulator.simulation import Simulation
from local.simulator.state.world import World

DEFAULT_CLIENT_ID = "local#simulator-client"
DEFAULT_CLIENT_SECRET = "simulator-secret"
_LARGEST_REQUEST = 16 << 20


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m local.simulator",
        description="A DAP (Canvas Data 2) service on this machine, with data made from a seed.",
        epilog="Credentials come from CD2_SIMULATOR_CLIENT_ID and CD2_SIMULATOR_CLIENT_SECRET; without them they are "
        f"'{DEFAULT_CLIENT_ID}' and '{DEFAULT_CLIENT_SECRET}'. The control interface is under /control/.",
    )
    add = arguments.add_argument
    add("--state", required=True, type=Path, metavar="DIR", help="where the history and the objects are kept")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8300, help="0: any free one (default: %(default)s); DIR/address tells the address")
    add("--rows", type=int, default=100, metavar="N", help="rows of a typical table (default: %(default)s)")
    add("--table-rows", action="append", default=[], metavar="NS.TABLE=N", help="exact rows of one table; repeatable")
    add("--seed", type=int, default=1, metavar="S", help="what the data is made from (default: %(default)s)")
    times = arguments.add_argument_group("times, in seconds")
    times.add_argument("--job-seconds", type=float, default=0, metavar="X", help="how long a job takes (default: 0)")
    times.add_argument("--token-seconds", type=float, default=3600, metavar="X", help="life of a token (default: 3600)")
    times.add_argument(
        "--url-seconds", type=float, default=900, metavar="X", help="life of an object's URL (default: 900)"
    )
    times.add_argument(
        "--job-life-seconds", type=float, default=86400, metavar="X", help="life of a job (default: 86400)"
    )
    jobs = arguments.add_argument_group("jobs")
    jobs.add_argument("--rows-per-object", type=int, default=100_000, metavar="N", help="(default: %(default)s)")
    jobs.add_argument(
        "--reuse-jobs", choices=REUSE, default="unchanged", help="same question, same job (default: %(default)s)"
    )
    jobs.add_argument(
        "--empty-result", choices=EMPTY, default="header", help="of a job without rows (default: %(default)s)"
    )
    limits = arguments.add_argument_group("calls a minute, each counted on its own (0: no limit)")
    for call, limit in DOCUMENTED.items():
        limits.add_argument(f"--{call}-limit", type=int, default=limit, metavar="N", help=f"(default: {limit})")
    add("--verbose", action="store_true", help="log every request")
    return arguments


def _table_rows(options: list[str]) -> dict[str, int]:
    rows = {}
    for option in options:
        name, _, number = option.partition("=")
        if "." not in name or not number.isdecimal():
            raise StateError(f"--table-rows wants namespace.table=N, not '{option}'")
        rows[name] = int(number)
    return rows


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError):
        raise StateError(f"{host}:{port} is not an address to listen on; check --host and --port") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise StateError(f"cannot listen on {host}:{port}: {reason}; use another --port, or 0 for a free one") from None
    return listener


def application(simulation: Simulation) -> web.Application:
    """The whole service."""
    app = web.Application(client_max_size=_LARGEST_REQUEST)
    for part in (dap, store, control_api, guide):
        app.add_routes(part.routes(simulation))
    return app


async def _serve(options: argparse.Namespace, simulation: Simulation, listener: socket.socket) -> None:
    # Before anybody can know that it runs, and stop it.
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    simulation.jobs.resume()
    access_log = logging.getLogger("aiohttp.access") if options.verbose else None
    runner = web.AppRunner(application(simulation), access_log=access_log, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    (options.state / "address.new").write_text(address + "\n")
    (options.state / "address.new").replace(options.state / "address")
    print(
        f"DAP simulator: {address}, {len(simulation.world.tables)} tables, limits {simulation.limits.limits}",
        flush=True,
    )
    cleaner = asyncio.create_task(simulation.keep_clean())
    await stopped.wait()
    cleaner.cancel()
    await simulation.jobs.stop()
    await runner.cleanup()
    (options.state / "address").unlink(missing_ok=True)
    simulation.world.journal.close()


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM.

    :returns: the exit status: 0, or `CANNOT_START` or `OTHER_VERSION` after one sentence that says why.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING)
    try:
        if options.rows < 0:
            raise StateError("--rows must not be negative")
        settings = Settings()
        names = ("job_seconds", "token_seconds", "url_seconds", "job_life_seconds", "rows_per_object")
        settings.change({name: getattr(options, name) for name in (*names, "reuse_jobs", "empty_result")})
        limits = RateLimits({call: getattr(options, f"{call}_limit") for call in DOCUMENTED})
        credentials = Credentials(
            os.environ.get("CD2_SIMULATOR_CLIENT_ID") or DEFAULT_CLIENT_ID,
            os.environ.get("CD2_SIMULATOR_CLIENT_SECRET") or DEFAULT_CLIENT_SECRET,
        )
        table_rows = _table_rows(options.table_rows)
        listener = _listening(options.host, options.port)
        try:
            world = World(options.state, options.seed, options.rows, table_rows)
        except StateError:
            listener.close()
            raise
        simulation = Simulation(world, options.state, credentials, settings, limits)
    except (StateError, ControlError) as error:
        print(f"DAP simulator: {error}", file=sys.stderr)
        return OTHER_VERSION if isinstance(error, OtherVersionError) else CANNOT_START
    # The event loop shares the interpreter with the threads that generate rows: switch often.
    sys.setswitchinterval(0.001)
    asyncio.run(_serve(options, simulation, listener))
    return 0


if __name__ == "__main__":
    sys.exit(main())
