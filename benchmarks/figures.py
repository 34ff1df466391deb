"""Medians, ratios and verdicts of the runs. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from benchmarks.competitors import CLIENT, HAND, OURS, PSQL
from benchmarks.options import DELETES, HEADLINE_ROWS, HEADLINE_SHAPE, LARGEST_ROWS, UPSERTS
from benchmarks.results import Run

INIT_FASTER, SYNC_FASTER, OF_PSQL = 12.0, 8.0, 1.1
MEMORY_BYTES = 150_000_000
SAME_MEMORY = 1.1
"""Memory counts as the same for both sizes up to this ratio."""

Group = tuple[str, str, int]
"""case, shape, rows"""


@dataclass(frozen=True)
class Ratio:
    """A median of ratios, with the smallest and the largest one."""

    middle: float
    least: float
    largest: float

    def __str__(self) -> str:
        digits = 1 if self.middle >= 3 else 2
        return f"{self.middle:.{digits}f} ({self.least:.{digits}f} to {self.largest:.{digits}f})"


@dataclass(frozen=True)
class Verdict:
    """One line of "Numbers to reach".

    :param met: None: not measured.
    """

    what: str
    wanted: str
    measured: str
    met: bool | None


def wall(run: Run) -> float:
    """Seconds of the whole process."""
    return run.usage.wall


def work(run: Run) -> float:
    """Seconds of the table's own steps; if the program does not print them, of the whole process."""
    return run.usage.wall if run.work_s is None else run.work_s


def groups(runs: Iterable[Run]) -> list[Group]:
    """The groups, in the order in which they were measured."""
    return list(dict.fromkeys((run.case, run.shape, run.rows) for run in runs))


def of(runs: Iterable[Run], group: Group, competitor: str) -> list[Run]:
    """The runs of one competitor in one group."""
    return [run for run in runs if (run.case, run.shape, run.rows) == group and run.competitor == competitor]


def middle(runs: Iterable[Run], value: Callable[[Run], float]) -> float:
    """The median of a value over runs.

    :raises statistics.StatisticsError: there are none.
    """
    return median(value(run) for run in runs)


def ratio(
    runs: Iterable[Run], group: Group, above: str, below: str, value: Callable[[Run], float] = wall
) -> Ratio | None:
    """How many times as long one took as another: by repeat, because only runs side by side compare; then the median.

    :returns: None if both ran in no repeat.
    """
    runs = list(runs)
    upper = {run.repeat: value(run) for run in of(runs, group, above)}
    lower = {run.repeat: value(run) for run in of(runs, group, below)}
    found = [upper[repeat] / lower[repeat] for repeat in upper if lower.get(repeat)]
    return Ratio(median(found), min(found), max(found)) if found else None


def verdicts(runs: Iterable[Run]) -> list[Verdict]:
    """The project's "Numbers to reach", as far as these benchmarks measure them."""
    runs = list(runs)
    init, sync = (case_of(case, HEADLINE_ROWS) for case in ("init", "sync"))
    upserts, deletes = round(HEADLINE_ROWS * UPSERTS), round(HEADLINE_ROWS * DELETES)
    return [
        _at_least("init, against `dap initdb`", ratio(runs, init, CLIENT, OURS), INIT_FASTER),
        _at_most("init, against `psql \\copy` into the table with its key", ratio(runs, init, OURS, PSQL)),
        _at_most("the same, the table's own steps (work)", ratio(runs, init, OURS, PSQL, work)),
        _at_least(
            f"sync of {upserts:,} upserts and {deletes:,} deletes, against `dap syncdb`",
            ratio(runs, sync, CLIENT, OURS),
            SYNC_FASTER,
        ),
        _at_most(
            "the same, the table's own steps (work), against the same change by hand in psql",
            ratio(runs, sync, OURS, HAND, work),
        ),
        _memory(runs),
        _same_memory(runs),
        _temporary(runs),
    ]


def case_of(case: str, rows: int) -> Group:
    """The group of a case for the table of "Numbers to reach"."""
    return case, HEADLINE_SHAPE, rows


def _at_least(what: str, found: Ratio | None, wanted: float) -> Verdict:
    measured = f"{found} times" if found else "not measured"
    return Verdict(what, f"{wanted:.0f} times faster", measured, found.middle >= wanted if found else None)


def _at_most(what: str, found: Ratio | None) -> Verdict:
    measured = f"{found} times" if found else "not measured"
    met = found.middle <= OF_PSQL if found else None
    return Verdict(what, f"at most {OF_PSQL} times its time", measured, met)


def _ours_large(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.competitor == OURS and run.rows >= HEADLINE_ROWS and run.case != "unchanged"]


def _memory(runs: list[Run]) -> Verdict:
    what, wanted = "peak memory of the loading process", f"below {MEMORY_BYTES / 1e6:.0f} MB"
    measured = _ours_large(runs)
    if not measured:
        return Verdict(what, wanted, "not measured", None)
    most = max(run.usage.rss for run in measured)
    return Verdict(what, wanted, f"{most / 1e6:.0f} MB at most, over {len(measured)} runs", most < MEMORY_BYTES)


def _same_memory(runs: list[Run]) -> Verdict:
    what, wanted = "the same for 1 and 4 million rows", f"within {SAME_MEMORY - 1:.0%}"
    small, large = (of(runs, case_of("init", rows), OURS) for rows in (HEADLINE_ROWS, LARGEST_ROWS))
    if not small or not large:
        return Verdict(what, wanted, "not measured", None)
    before, after = (middle(part, lambda run: run.usage.rss) for part in (small, large))
    measured = f"{before / 1e6:.0f} MB and {after / 1e6:.0f} MB"
    return Verdict(what, wanted, measured, max(before, after) <= SAME_MEMORY * min(before, after))


def _temporary(runs: list[Run]) -> Verdict:
    what, wanted = "temporary disk of the loading process", "0 bytes"
    measured = _ours_large(runs)
    if not measured:
        return Verdict(what, wanted, "not measured", None)
    most = max(run.usage.temporary for run in measured)
    return Verdict(what, wanted, f"{most:,} bytes at most, over {len(measured)} runs", most == 0)
