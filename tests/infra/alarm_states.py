"""The states of a planned alarm, as CloudWatch's documentation says that it is evaluated.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
Neither moto nor MiniStack evaluates missing data.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

COMPARISONS = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
}
STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Minimum": min, "Maximum": max, "Sum": sum, "SampleCount": len, "Average": lambda of: sum(of) / len(of),
}  # fmt: skip
FURTHER = range(4)
"""How many periods more than the alarm has CloudWatch looks at: some, it says, depending on the period's length."""


def state(alarm: dict[str, Any], points: Mapping[float, float | Sequence[float]], before: str, further: int) -> str:
    """The state of an alarm whose periods must all breach.

    CloudWatch takes as many points as it needs from the periods that it looks at, newest first, and only what is
    missing then is treated as missing.

    :param points: values by their age in seconds; several of the same age in a sequence.
    :param before: the state up to now.
    :param further: see `FURTHER`.
    :returns: OK, ALARM or INSUFFICIENT_DATA.
    """
    needed, missing = alarm["evaluation_periods"], alarm["treat_missing_data"]
    assert alarm.get("datapoints_to_alarm") in (None, needed)
    periods: dict[int, list[float]] = {}
    for age, value in points.items():
        periods.setdefault(int(age // alarm["period"]), []).extend(value if isinstance(value, Sequence) else [value])
    seen = [periods[each] for each in range(needed + further) if each in periods][:needed]
    breaches = COMPARISONS[alarm["comparison_operator"]]
    found = [bool(breaches(STATISTICS[alarm["statistic"]](each), alarm["threshold"])) for each in seen]
    if not all(found):
        return "OK"
    if len(found) == needed or missing == "breaching":
        return "ALARM"
    if missing == "notBreaching":
        return "OK"
    if missing == "ignore":
        return before
    return "ALARM" if found else "INSUFFICIENT_DATA"


def last(alarm: dict[str, Any], points: Mapping[float, float | Sequence[float]], before: str = "OK") -> str:
    """The state, which must be the same however far CloudWatch looks back."""
    (same,) = {state(alarm, points, before, further) for further in FURTHER}
    return same
