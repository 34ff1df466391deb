"""When a failed try is made again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cd2.replication.errors import TransientError, WaitError
from cd2.tasks.retries import JITTER, LONGEST_DELAY_S, PATIENCE_S, Backoff, delay_s

PASSING = TransientError("DAP answered 503.")


@pytest.mark.parametrize(("failures", "at_least"), [(1, 60), (2, 120), (3, 240), (9, LONGEST_DELAY_S)])
def test_each_try_waits_twice_as_long_as_the_last_up_to_a_quarter_of_an_hour(failures: int, at_least: float) -> None:
    delays = [delay_s(PASSING, failures) for _ in range(200)]
    assert at_least <= min(delays)
    assert max(delays) <= at_least * (1 + JITTER)


def test_tables_that_fail_together_do_not_come_back_together() -> None:
    assert len({round(delay_s(PASSING, 1), 1) for _ in range(90)}) > 30


def test_a_service_that_asks_for_patience_gets_it() -> None:
    assert delay_s(WaitError("429", seconds=3), 1) >= PATIENCE_S
    assert delay_s(WaitError("429", seconds=7200), 1) >= 7200


def test_after_a_clear_the_delays_begin_anew() -> None:
    """Airflow counts tries on over a clear, and allows as many more as the task has retries."""
    context: Any = {"task": SimpleNamespace(retries=3)}
    fresh = Backoff().evaluate(PASSING, 1, 3, context)
    cleared = Backoff().evaluate(PASSING, 9, 11, context)
    for decision in (fresh, cleared):
        assert decision.retry_delay is not None
        assert 60 <= decision.retry_delay.total_seconds() <= 60 * (1 + JITTER)
