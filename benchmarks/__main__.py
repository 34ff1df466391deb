"""`python -m benchmarks`: run them, or write the report of existing results (`report [results.json]`)."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.arena import Arena
from benchmarks.cases import Benchmark
from benchmarks.figures import verdicts
from benchmarks.options import HELP, Options
from benchmarks.report import ratios, report
from benchmarks.results import Results, machine
from local.errors import LocalStackError

INTERRUPTED = 130


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def run(options: Options) -> None:
    """Run all chosen cases, then write the report.

    :raises LocalStackError: a competitor fails or loads wrong data, or a server does not start.
    """
    chosen = {
        "rows": list(options.rows_list),
        "shapes": list(options.shapes),
        "cases": list(options.cases),
        "repeats": options.repeats,
        "client up to": options.client_max_rows,
    }
    path = options.directory / "results.json"
    with Arena(options.directory / "arena") as arena:
        results = Results(machine(arena.version()), chosen)
        started = time.monotonic()

        def save() -> None:
            results.seconds = round(time.monotonic() - started, 1)
            results.save(path)

        say(f"benchmarks: {results.machine['cpu']}, {results.machine['cores']} cores; results go to {path}")
        Benchmark(arena, options, results, say, save).run()
        save()
    write_report(results, options)


def write_report(results: Results, options: Options) -> None:
    """Write the report; print its ratios, and its section about the numbers to reach."""
    path = options.destination(complete=all(verdict.met is not None for verdict in verdicts(results.runs)))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = report(results)
    path.write_text(text)
    start = text.index("## Numbers to reach")
    end = text.find("\n## ", start + 1)
    say(f"\n{ratios(results)}\n{text[start:end]}\nreport: {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0: done, 1: failed, 2: wrong use, 130: interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if given and given[0] == "report" and len(given) <= 2:
            options = Options.from_environment()
            source = Path(given[1]) if len(given) == 2 else options.directory / "results.json"
            write_report(Results.load(source), options)
        elif given:
            print(HELP, end="")
            return 0 if given[0] in {"-h", "--help", "help"} else 2
        else:
            run(Options.from_environment())
    except LocalStackError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbenchmarks: interrupted; nothing is left running", file=sys.stderr)
        return INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal ends the run; later ones must not keep it from stopping its programs."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
