"""Unusual volumes in simulated weeks: a starved table is found on the first day, and normal weeks are left alone."""

import math
import random
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import pytest

from cd2.notification.volumes import odd_volumes
from cd2.replication.names import TableName

FIRST = date(2026, 1, 5)
WEEKS = 18
WEEKLY = [1.0, 1.1, 1.05, 1.0, 0.7, 0.2, 0.35]
"""How busy the days of a week are, Monday first."""
BREAKS = {date(2026, 3, 2) + timedelta(days=n): 0.15 for n in range(14)} | {date(2026, 4, 3): 0.05}
"""A term break of two weeks, and a holiday: how busy the institution is."""
STARVED = TableName("canvas_logs", "web_logs")


class Institution:
    """The changes of its tables, day by day; each follows terms and weekdays in its own way."""

    def __init__(self, seed: int, tables: int = 60) -> None:
        self._random = random.Random(seed)
        names = [STARVED, *(TableName("canvas", f"table_{n}") for n in range(tables - 1))]
        # usual changes a day, how much the table follows the terms, how noisy it is
        self.tables = {
            name: (
                math.exp(self._random.uniform(math.log(3), math.log(500_000))),
                self._random.uniform(0.3, 1.5),
                self._random.uniform(0.1, 0.4),
            )
            for name in names
        }
        self.tables[STARVED] = (400_000.0, 1.0, 0.15)

    def changes(self, day: date) -> dict[TableName, int]:
        return {
            name: int(
                usual * WEEKLY[day.weekday()] * BREAKS.get(day, 1.0) ** follows * math.exp(self._random.gauss(0, noise))
            )
            for name, (usual, follows, noise) in self.tables.items()
        }


def as_judged(days: Mapping[date, Mapping[TableName, int]], day: date) -> dict[TableName, dict[date, int]]:
    """The numbers of a day and of the six same weekdays before it, as the ledger has them."""
    same = [day - timedelta(weeks=n) for n in range(7)]
    return {name: {d: days[d][name] for d in same if d in days} for name in days[day]}


def judged(seed: int, days: Iterable[date], share: float = 1.0, since: date = date.max) -> dict[date, set[TableName]]:
    """The tables that are named on some days, if one table gets only a share of its changes since a day."""
    institution = Institution(seed)
    numbers: dict[date, dict[TableName, int]] = {}
    for number in range(WEEKS * 7):
        day = FIRST + timedelta(days=number)
        numbers[day] = institution.changes(day)
        if day >= since:
            numbers[day][STARVED] = int(numbers[day][STARVED] * share)
    return {day: {odd.table for odd in odd_volumes(day, as_judged(numbers, day))} for day in days}


@pytest.mark.parametrize("seed", range(6))
def test_in_normal_weeks_with_a_term_break_and_a_holiday_no_table_is_named(seed: int) -> None:
    days = [FIRST + timedelta(days=number) for number in range(WEEKS * 7)]
    assert {day: named for day, named in judged(seed, days).items() if named} == {}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.15])
@pytest.mark.parametrize("first", [date(2026, 2, 18), date(2026, 2, 21)], ids=["Wednesday", "Saturday"])
def test_a_starved_table_is_found_on_the_first_day(share: float, first: date) -> None:
    for seed in range(10):
        assert judged(seed, [first], share, first) == {first: {STARVED}}


def test_a_table_that_is_starved_in_a_term_break_is_found_after_it_at_the_latest() -> None:
    begun, over = date(2026, 3, 4), date(2026, 3, 16)
    for seed in range(5):
        assert judged(seed, [begun], 0.0, begun) == {begun: {STARVED}}
        assert judged(seed, [over], 0.1, begun) == {over: {STARVED}}


def series(today: int, *before: int, tables: int = 1) -> dict[TableName, dict[date, int]]:
    numbers = {FIRST - timedelta(weeks=n): number for n, number in enumerate(before, 1)} | {FIRST: today}
    return {TableName("canvas", f"table_{n}"): numbers for n in range(tables)}


def test_both_numbers_are_told() -> None:
    (odd,) = odd_volumes(FIRST, series(40, 5000, 4900, 5200))
    assert (odd.day, odd.changes, odd.usual) == (FIRST, 40, 5000)


def test_far_more_is_odd_too_but_a_large_import_is_not() -> None:
    assert odd_volumes(FIRST, series(500_000, 5000, 4900, 5200))
    assert not odd_volumes(FIRST, series(40_000, 5000, 4900, 5200))


def test_two_weeks_are_too_few_to_judge() -> None:
    assert odd_volumes(FIRST, series(0, 5000, 5000)) == ()
    assert odd_volumes(FIRST, series(0, 5000, 5000, 5000))


def test_small_tables_are_not_judged() -> None:
    assert odd_volumes(FIRST, series(0, 99, 99, 99)) == ()
    assert odd_volumes(FIRST, series(0, 100, 100, 100))


def test_a_table_that_changes_every_other_week_is_not_named() -> None:
    for today in (0, 5000):
        assert odd_volumes(FIRST, series(today, 5000, 0, 5000, 0, 5000, 0)) == ()


def test_a_day_without_numbers_is_not_judged() -> None:
    """The DAG did not run on it."""
    numbers = series(0, 5000, 5000, 5000)
    for days in numbers.values():
        del days[FIRST]
    assert odd_volumes(FIRST, numbers) == ()


def test_when_all_tables_fall_no_table_is_named() -> None:
    assert odd_volumes(FIRST, series(300, 5000, 4900, 5200, tables=8)) == ()
