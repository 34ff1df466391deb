"""`python -m local.compare`: compare a replica with the simulator's truth."""

import argparse
import os
import sys

import psycopg

from local.compare import TableDifference, compare
from local.simulator.control import SimulatorError


def report(results: list[TableDifference]) -> str:
    """A short table: a line for everything that differs, and a sum."""
    lines = []
    for result in (result for result in results if not result.equal):
        counts = (("missing", result.missing), ("superfluous", result.superfluous), ("different", result.changed))
        facts = [f"{number} {word}" for word, number in counts if number]
        lines.append(f"{result.table:<45} {', '.join(facts) or 'see below'}")
        lines += [f"    {text}" for text in (*result.problems, *result.examples)]
    rows = sum(result.rows for result in results)
    different = sum(not result.equal for result in results)
    verdict = "no difference" if not different else f"{different} of them different"
    return "\n".join([*lines, f"{len(results)} tables, {rows} rows compared: {verdict}"])


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: equal, 1: different, 2: could not be compared."""
    parser = argparse.ArgumentParser(
        prog="python -m local.compare",
        description="Compare a replica with the simulator's truth, value by value.",
        epilog="CD2_REPLICA_DSN in the environment says where the replica is (postgresql://user:password@host/db).",
    )
    parser.add_argument("--simulator", required=True, metavar="URL", help="address of the simulator")
    parser.add_argument("--tables", nargs="+", metavar="NS.TABLE", help="only these tables")
    options = parser.parse_args(arguments)
    dsn = os.environ.get("CD2_REPLICA_DSN")
    if not dsn:
        print("compare: set CD2_REPLICA_DSN to where the replica is (postgresql://...)", file=sys.stderr)
        return 2
    try:
        results = compare(options.simulator, dsn, options.tables)
    except SimulatorError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except psycopg.Error as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"compare: the replica cannot be read: {reason}", file=sys.stderr)
        return 2
    print(report(results))
    return 0 if all(result.equal for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
