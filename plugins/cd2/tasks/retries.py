"""How long Airflow waits before a retry: exponential backoff with jitter, and at least as long as DAP demands."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision

from cd2.replication.errors import WaitError

if TYPE_CHECKING:
    from airflow.sdk import Context

FIRST_DELAY_S = 60.0
LONGEST_DELAY_S = 15 * 60.0
PATIENCE_S = 20 * 60.0
"""At least this long after a `WaitError`, which comes only after a long series of 429s."""
JITTER = 0.5


class Backoff(RetryPolicy):
    """Unlike Airflow's own backoff, it has a different jitter for each table, and starts over after a clear.

    Failures that a person must fix do not come here: `AirflowFailException` fails a task at once.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        retries = (context["task"].retries or 0) if context is not None else max_tries
        delay = delay_s(exception, failures=max(1, retries - (max_tries - try_number)))
        return RetryDecision.retry(timedelta(seconds=delay), f"{type(exception).__name__}: retry after {delay:.0f} s")


def delay_s(exception: BaseException, failures: int) -> float:
    """Seconds until the next try.

    :param failures: failed tries since the task was last cleared, including this one.
    """
    delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (failures - 1))
    if isinstance(exception, WaitError):
        delay = max(delay, PATIENCE_S, exception.seconds)
    return delay * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - spreads tries, guards nothing
