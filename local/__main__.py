"""`python -m local COMMAND`: the local stack's command line. Settings come from the environment, see `make help`."""

import argparse
import logging
import sys
from collections.abc import Callable

import psycopg
from rich.console import Console

from local.command import logs, run, service, tools
from local.command.given import check_variables
from local.command.service import Stopped, stop_on_signals
from local.errors import LocalStackError
from local.settings import Options
from local.simulator.control import SimulatorError

WITH_CONSOLE: dict[str, Callable[[Options, Console], int]] = {
    "run": run.run,
    "up": service.up,
    "down": service.down,
    "status": service.status,
    "compare": tools.compare_replica,
    "logs": logs.logs,
    "reset": service.reset,
}
COMMANDS = (*WITH_CONSOLE, "psql", "dap", "dictionary", "serve")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 good, 1 not, 128 + signal when told to stop."""
    parser = argparse.ArgumentParser(prog="python -m local", description="The local stack.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of psql and dap")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    # do not wrap at 80 characters in a file or a pipe
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    stop_on_signals()
    try:
        return _command(given.command, given.arguments, console)
    except (LocalStackError, SimulatorError) as error:
        print(f"Error: {error}", file=sys.stderr)
    except psycopg.OperationalError as error:
        print(f"Error: the local PostgreSQL does not answer: {str(error).strip().splitlines()[0]}", file=sys.stderr)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"Error: the local stack cannot use its files: {error.strerror or error}{where}", file=sys.stderr)
    except Stopped as stop:
        print("Stopped.", file=sys.stderr)
        return 128 + stop.number
    return 1


def _command(command: str, arguments: list[str], console: Console) -> int:
    check_variables(command)
    options = Options.from_environment()
    match command:
        case "psql":
            return tools.psql(options, arguments)
        case "dap":
            return tools.dap(options, arguments)
        case "dictionary":
            return tools.dictionary(options)
        case "serve":
            return service.serve(options)
        case _:
            return WITH_CONSOLE[command](options, console)


if __name__ == "__main__":
    sys.exit(main())
