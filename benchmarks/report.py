"""docs/benchmarks.md: the results, readable."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.competitors import CLIENT, COMPETITORS, HAND, OURS, PSQL
from benchmarks.figures import Group, Ratio, groups, middle, of, ratio, verdicts, wall, work
from benchmarks.results import Results, Run

HEAD = """\
# Benchmarks

Written by `make bench`, which overwrites manual changes. Our engine (`cd2.replication`), the official client's command
line and psql (init: `\\copy`; sync: SQL by hand) take turns in one run, each in its own process, with one embedded
PostgreSQL (durable default settings) and one DAP simulator. Absolute times differ between machines and hours; ratios
of runs side by side hardly do. A figure is the median of its repeats, a ratio the median of the repeats' ratios (with
the smallest and the largest).
"""

HOW = """\
## How it is measured

- *init*: an empty database is filled with a snapshot. psql copies the same lines from a decompressed file without
  header and `meta.ts` into the empty table with its primary key; it does not download, decompress or check them.
- *sync*: 20% of the rows are written (three quarters updated, a quarter new) and 2% deleted. All start from copies of
  one database that our engine loaded, vacuumed and analyzed. *By hand*: what an expert would write for this one change,
  in one transaction of psql: `\\copy` into an unlogged table, one DELETE, one MERGE (which is faster than INSERT ... ON
  CONFLICT DO UPDATE). It reads the same lines from a decompressed file without header and `meta.ts`; it does not
  download, decompress, check, count or look for repeated keys, and notes nothing. Ours and by hand differ by less than
  one run does from the next, so they take more turns.
- *unchanged*: a sync of a table in which nothing has changed: the fixed cost.
- *whole*: seconds from the program's start to its end. *work*: of our engine, the steps of one table: without starting
  Python, importing, preparing the database and opening the connection on which all tables wait, which a run does once;
  of the client, without starting Python and importing.
- *CPU*: of the program with its children; *server*: of all PostgreSQL processes; *service*: of the simulator, which
  shares the machine. Jobs are generated beforehand: the time includes downloading the data, but not generating it.
- *memory*: the largest resident set (sampled every 20 ms, and the kernel's own peak); *unshared*: without shared
  libraries, sampled four times a second.
- *temporary*: files of the program in its working folder, HOME and TMPDIR, also open ones without a name, sampled
  every 20 ms. *server space*: peak size of the database beyond its final size, with the server's sort files, four times
  a second.
- The measuring process uses about a twentieth of one core, for every competitor.
- Before each run the server flushes everything (CHECKPOINT, sync), and free memory is touched: the host of a virtual
  machine may have reclaimed it, and then some runs would wait for it and others would not.
- After each run the rows are counted and the hashes of all rows are summed; all competitors must agree with each other
  and with the simulator.
"""

TITLES = {
    "init": "Init",
    "sync": "Sync of 20% upserts and 2% deletes",
    "unchanged": "Sync of an unchanged table",
}
COLUMNS = (
    "table",
    "",
    "whole s",
    "work s",
    "CPU s",
    "server s",
    "service s",
    "memory MB",
    "unshared MB",
    "temporary MB",
    "server space MB",
)
RATIOS = (
    "ratios",
    "client / ours, whole",
    "client / ours, work",
    "client / ours, CPU and server",
    "ours / psql, whole",
    "ours / psql, work",
    "ours / by hand, whole",
    "ours / by hand, work",
)


def report(results: Results) -> str:
    """The report as Markdown."""
    parts = [HEAD, _machine(results), "## Numbers to reach\n", _verdicts(results.runs)]
    for case, title in TITLES.items():
        chosen = [group for group in groups(results.runs) if group[0] == case]
        if chosen:
            parts += [f"## {title}\n", _times(results, chosen), _ratios(results.runs, chosen)]
    parts.append(HOW)
    if results.checks:
        parts += ["## What was verified\n", "".join(f"- {check}\n" for check in results.checks)]
    return "\n".join(part for part in parts if part)


def _machine(results: Results) -> str:
    of_it = results.machine
    options = ", ".join(f"{name} {_shown(value)}" for name, value in results.options.items())
    return _table(
        ("", ""),
        [
            ("date", of_it["date"]),
            ("commit", of_it["commit"]),
            ("machine", f"{of_it['cpu']}, {of_it['cores']} cores, {of_it['memory_gb']} GB, {of_it['system']}"),
            ("load before the run", str(of_it["load_before"])),
            ("versions", f"PostgreSQL {of_it['postgresql']}, Python {of_it['python']}, client {of_it['client']}"),
            ("run", f"{options}; took {results.seconds / 60:.0f} min"),
        ],
    )


def ratios(results: Results) -> str:
    """The ratios of all cases as text."""
    parts = []
    for case, title in TITLES.items():
        if chosen := [group for group in groups(results.runs) if group[0] == case]:
            parts.append(f"{title}\n{_ratios(results.runs, chosen)}")
    return "\n".join(parts)


def _verdicts(runs: Sequence[Run]) -> str:
    words = {True: "met", False: "**not met**", None: "not measured"}
    lines = [(v.what, v.wanted, v.measured, words[v.met]) for v in verdicts(runs)]
    return _table(("1,000,000 rows, narrow table", "wanted", "measured", ""), lines)


def _times(results: Results, chosen: Sequence[Group]) -> str:
    lines = []
    for group in chosen:
        described = _described(results, group)
        for name in COMPETITORS:
            if runs := of(results.runs, group, name):
                lines.append((described, COMPETITORS[name].title, *_figures(runs)))
                described = ""
    return _table(COLUMNS, lines)


def _described(results: Results, group: Group) -> str:
    case, shape, rows = group
    text = f"{shape}, {rows:,} rows"
    data = results.data.get(f"{case} {shape} {rows}")
    if data and data["lines"]:
        text += f": {data['lines']:,} lines, {data['decompressed'] / 1e6:,.0f} MB"
    return text


def _figures(runs: Sequence[Run]) -> list[str]:
    def megabytes(name: str) -> str:
        size = middle(runs, lambda run: getattr(run.usage, name))
        return f"{size / 1e6:,.0f}" if size >= 1e7 or not size else f"{size / 1e6:.2g}"

    return [
        f"{middle(runs, wall):.2f}",
        f"{middle(runs, work):.2f}" if runs[0].work_s is not None else "",
        f"{middle(runs, lambda run: run.usage.cpu):.2f}",
        f"{middle(runs, lambda run: run.usage.server_cpu):.2f}",
        f"{middle(runs, lambda run: run.usage.service_cpu):.2f}",
        *(megabytes(name) for name in ("rss", "uss", "temporary", "server_space")),
    ]


def _ratios(runs: Sequence[Run], chosen: Sequence[Group]) -> str:
    lines = []
    for group in chosen:
        found: list[Ratio | None] = [
            ratio(runs, group, CLIENT, OURS),
            ratio(runs, group, CLIENT, OURS, work),
            ratio(runs, group, CLIENT, OURS, lambda run: run.usage.cpu + run.usage.server_cpu),
            ratio(runs, group, OURS, PSQL),
            ratio(runs, group, OURS, PSQL, work),
            ratio(runs, group, OURS, HAND),
            ratio(runs, group, OURS, HAND, work),
        ]
        lines.append((f"{group[1]}, {group[2]:,} rows", *("" if one is None else str(one) for one in found)))
    return _table(RATIOS, lines)


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table without empty columns."""
    kept = [
        index for index, head in enumerate(heads) if any(line[index] for line in lines) or (index == 0 and not head)
    ]
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(row[index] for index in kept) + " |\n" for row in rows)
