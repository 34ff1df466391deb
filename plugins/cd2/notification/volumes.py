"""Which tables got far fewer or more changes on a day than on the same weekdays before.

The service may deliver a small share of a table's rows for months, and everything looks well. Numbers are compared as
ratios (logarithms), by median and MAD, so that single odd weeks do not count. A term break changes all tables: what the
day did to the others is taken off first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from statistics import median

from cd2.replication.names import TableName
from cd2.replication.results import OddVolume

AT_LEAST_DAYS = 3
"""How many same weekdays must be known."""
AT_LEAST_ROWS = 100
"""Tables that usually have fewer changes than this are not judged."""
AT_LEAST_OTHERS = 5
"""How many other tables tell what the day was like."""
FEWER, MORE = 1 / 4, 10.0
"""Ratios to what is usual. Large imports are normal, so more must be much more."""
DEVIATIONS = 4.0
"""How many times its usual spread a number must be away."""
LEAST_SPREAD = 0.3
"""Of logarithms; three weeks may be equal by chance."""
_SIGMA = 1.4826
"""MAD -> standard deviation, of what is normally distributed."""


def odd_volumes(day: date, changes: Mapping[TableName, Mapping[date, int]]) -> tuple[OddVolume, ...]:
    """The tables whose number of changes on a day is odd.

    :param changes: of each table, on this day and on the same weekdays before it.
    """
    ratios: dict[TableName, float] = {}
    usual: dict[TableName, float] = {}
    spreads: dict[TableName, float] = {}
    for table, numbers in changes.items():
        before = [math.log1p(number) for other, number in numbers.items() if other < day]
        if day in numbers and len(before) >= AT_LEAST_DAYS and median(before) >= math.log1p(AT_LEAST_ROWS):
            usual[table], spreads[table] = median(before), _spread(before)
            ratios[table] = math.log1p(numbers[day]) - usual[table]
    found = []
    for table, ratio in sorted(ratios.items()):
        others = [other for name, other in ratios.items() if name != table]
        shift, unrest = (median(others), _spread(others)) if len(others) >= AT_LEAST_OTHERS else (0.0, 0.0)
        off = ratio - shift
        far = abs(off) > DEVIATIONS * max(LEAST_SPREAD, math.hypot(spreads[table], unrest))
        if far and not math.log(FEWER) <= off <= math.log(MORE):
            found.append(OddVolume(table, day, changes[table][day], round(math.expm1(usual[table]))))
    return tuple(found)


def _spread(values: Iterable[float]) -> float:
    values = list(values)
    middle = median(values)
    return _SIGMA * median(abs(value - middle) for value in values)
