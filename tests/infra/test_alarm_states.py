"""Alarms are raised by what they are for, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.alarm_states import FURTHER, last, state
from tests.infra.plan import planned, resources

pytestmark = pytest.mark.infra

MINUTE = 60
HOUR = 3600
DAY = 24 * HOUR
GIB = 1024**3


def own_alarm(name: str, environment: str = "dev", **inputs: str) -> dict[str, Any]:
    return resources(planned(environment, **inputs))[f'module.monitoring.aws_cloudwatch_metric_alarm.this["{name}"]']


def minutes(*values: float | None, of: int = 1, until: int = 0) -> dict[float, float]:
    """Points each `of` minutes, the newest first, `until` minutes ago; None is none."""
    ages = {(until + n * of) * MINUTE + 1.0: value for n, value in enumerate(values)}
    return {age: value for age, value in ages.items() if value is not None}


DOCUMENTED = {
    # From the documentation's table: periods from the oldest to the newest (0: good, X: bad, -: missing), and
    # the states of an alarm of three out of three for missing, ignore, breaching and notBreaching.
    "0-X-X": ("OK", "OK", "OK", "OK"),
    "----0": ("OK", "OK", "OK", "OK"),
    "-----": ("INSUFFICIENT_DATA", "as before", "ALARM", "OK"),
    "0XX-X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "--X--": ("ALARM", "as before", "ALARM", "OK"),
}


@pytest.mark.parametrize("periods", DOCUMENTED)
def test_alarms_are_evaluated_here_as_cloudwatch_documents_it(periods: str) -> None:
    points = {n * 60.0: {"0": 0.0, "X": 1.0}[each] for n, each in enumerate(reversed(periods)) if each != "-"}
    alarm = {
        "evaluation_periods": 3, "period": 60, "statistic": "Maximum", "threshold": 0,
        "comparison_operator": "GreaterThanThreshold",
    }  # fmt: skip
    treatments = ("missing", "ignore", "breaching", "notBreaching")
    assert DOCUMENTED[periods] == tuple(
        state(alarm | {"treat_missing_data": each}, points, "as before", further=2) for each in treatments
    )


def test_a_run_that_fails_raises_an_alarm_for_some_minutes_however_long_it_took() -> None:
    """The metric is the duration of failed runs in milliseconds, a point for each: only their number counts."""
    alarm = own_alarm("run-failed")
    for milliseconds in (0.0, 1.0, 4 * HOUR * 1000.0):
        assert last(alarm, {MINUTE: milliseconds}) == "ALARM"
    assert last(alarm, {MINUTE: [900.0, 0.0]}) == "ALARM", "two runs"
    assert last(alarm, {}) == "OK", "no run has failed: there is no point"
    assert last(alarm, {30 * MINUTE: 900.0}, "ALARM") == "OK", "long ago"


def test_a_run_that_succeeds_ends_the_silence() -> None:
    alarm = own_alarm("nothing-succeeded")
    assert last(alarm, {}) == "ALARM"
    assert last(alarm, {MINUTE: 0.0}, "ALARM") == "OK", "the shortest"
    assert last(alarm, {5.5 * HOUR: 600_000.0}) == "OK", "a run that took as long as is allowed"
    assert last(alarm, {10 * HOUR: 600_000.0}) == "ALARM"


def test_a_scheduler_that_is_silent_raises_an_alarm_and_one_of_two_does_not() -> None:
    """The metric counts heartbeats, of all schedulers together; a scheduler that is gone leaves no points."""
    alarm = own_alarm("scheduler-heartbeat")
    assert last(alarm, minutes(*[12] * 40)) == "OK"
    assert last(alarm, minutes(*[1] * 40)) == "OK", "one heartbeat a minute"
    assert last(alarm, minutes(*[6] * 40)) == "OK", "half of them: one of two schedulers"
    assert last(alarm, minutes(*[None] * 4, *[12] * 30)) == "OK", "a restart of four minutes"
    assert last(alarm, minutes(*[None] * 11, *[12] * 30)) == "OK"
    assert last(alarm, {}) == "ALARM"
    assert last(alarm, minutes(*[0] * 20)) == "ALARM", "it says that there were none"
    # In the end, however far CloudWatch looks for what is missing: after 15 to 30 minutes.
    silent = minutes(*[12] * 30, until=16)
    assert {further: state(alarm, silent, "OK", further) for further in FURTHER}[0] == "ALARM"
    assert last(alarm, minutes(*[12] * 30, until=31)) == "ALARM"
    assert last(alarm, minutes(12), "ALARM") == "OK", "the first after it"


def test_capacity_at_its_maximum_raises_an_alarm_and_brief_peaks_do_not() -> None:
    """A percentage of the maximum, each minute."""
    alarm = own_alarm("database-capacity")
    assert last(alarm, minutes(*[100] * 20)) == "ALARM"
    assert last(alarm, minutes(*[91] * 20)) == "ALARM"
    assert last(alarm, minutes(*[90] * 20)) == "OK"
    assert last(alarm, minutes(*[100] * 9, *[20] * 20)) == "OK", "nine minutes"
    assert last(alarm, minutes(*[20] * 5, *[100] * 20)) == "OK", "over"
    assert last(alarm, minutes(*([100, 100, 20, 20, 20] * 6))) == "OK", "peaks of two minutes"


def test_a_database_that_pauses_raises_nothing() -> None:
    capacity, storage = own_alarm("database-capacity"), own_alarm("database-storage")
    assert last(capacity, minutes(*[0] * 30)) == "OK", "a paused instance uses nothing of its maximum"
    for alarm in (capacity, storage):
        assert last(alarm, {}) == "OK"
    # Runs of a few minutes at the maximum, and pauses without a point between them.
    assert last(capacity, minutes(*[100] * 4, *[None] * 11, *[100] * 4, *[None] * 11)) == "OK"


def test_a_volume_that_grows_too_large_raises_an_alarm_that_lasts_until_it_is_smaller() -> None:
    """Bytes, each five minutes; while nobody knows how large it is, it is as large as before."""
    alarm = own_alarm("database-storage", database_storage_alarm_gib="100")
    assert last(alarm, minutes(*[99 * GIB] * 12, of=5)) == "OK"
    assert last(alarm, minutes(*[100 * GIB + 1] * 12, of=5)) == "ALARM"
    assert last(alarm, minutes(*[80 * GIB] * 12, of=5), "ALARM") == "OK"
    assert last(alarm, {}, "ALARM") == "ALARM", "a paused database"
    assert last(alarm, minutes(*[101 * GIB] * 3, of=5), "ALARM") == "ALARM"


@pytest.mark.parametrize("environment", ["dev", "stg", "prod"])
def test_no_alarm_looks_more_often_than_its_metric_is_published(environment: str) -> None:
    """And for alarms that silence raises, a point that is one publication late is not silence."""
    published = {
        "SchedulerHeartbeat": MINUTE, "ACUUtilization": MINUTE, "VolumeBytesUsed": 5 * MINUTE,
    }  # fmt: skip
    made = resources(planned(environment))
    watched = {v["metric_name"]: v for a, v in made.items() if ".aws_cloudwatch_metric_alarm.this" in a}
    for metric, seconds in published.items():
        assert watched[metric]["period"] >= 5 * seconds, metric


def test_data_that_is_old_or_of_an_unknown_age_raises_an_alarm() -> None:
    alarm = own_alarm("data-old")
    every_three_hours = {hour * HOUR: 0.0 for hour in (1, 4, 7)}
    assert last(alarm, dict.fromkeys(every_three_hours, 3 * HOUR)) == "OK"
    assert last(alarm, dict.fromkeys(every_three_hours, DAY + 1)) == "ALARM"
    assert last(alarm, {1 * HOUR: HOUR, 4 * HOUR: DAY + 1, 7 * HOUR: DAY + 1}) == "OK", "the last run made it good"
    # A paused DAG, runs that do not get as far as the tables, metrics that do not arrive.
    assert last(alarm, {}) == "ALARM"
    # A run that takes as long as hours_without_success allows.
    assert last(alarm, {5.5 * HOUR: HOUR}) == "OK"
    later = own_alarm("data-old", hours_data_may_be_old="72", hours_without_success="12")
    assert last(later, {5 * HOUR: 3 * DAY}) == "OK"
    assert last(later, {5 * HOUR: 3 * DAY + 1}) == "ALARM"
    assert (
        "For 12 hours no run of canvas_data_2 has reported that all data is younger than 72"
        in (later["alarm_description"])
    )


def test_failed_tables_raise_an_alarm_that_lasts_until_a_run_says_that_they_no_longer_fail() -> None:
    alarm = own_alarm("tables-failed")
    assert last(alarm, {60: 1}) == "ALARM"
    assert last(alarm, {}, "ALARM") == "ALARM", "between two runs"
    assert last(alarm, {60: 0}, "ALARM") == "OK"
    assert last(alarm, {}, "OK") == "OK"
    several = own_alarm("tables-failed", failed_tables_alarm="5")
    assert (last(several, {60: 4}), last(several, {60: 5})) == ("OK", "ALARM")
    assert several["alarm_description"].startswith("5 or more tables failed")
