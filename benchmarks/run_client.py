"""The official client's `dap` command with a stopwatch: `python -m benchmarks.run_client syncdb --namespace ...`.

It does what the installed script does, and prints one more line of JSON: `work_s`, the seconds without starting
Python and importing.
"""

import json
import sys
import time


def main() -> int:
    """Run the command with the arguments of this process; :returns: its exit status."""
    from dap.__main__ import console_entry

    started = time.perf_counter()
    status: object = 0
    try:
        console_entry()
    except SystemExit as end:
        status = end.code
    if status:
        return status if isinstance(status, int) else 1
    print(json.dumps({"work_s": time.perf_counter() - started}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
