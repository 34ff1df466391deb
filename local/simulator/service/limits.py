"""The documented limits per minute, each call counted on its own, and the statistics of all calls."""

import math
import time
from bisect import bisect_right
from collections import Counter, deque
from typing import Any

from local.simulator.errors import ControlError

DOCUMENTED = {"list": 5, "schema": 500, "data": 5, "job": 500, "object": 200}
MINUTE = 60.0


class RateLimits:
    """Counts calls of a client in any 60 seconds. A call that is refused does not count."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = dict(DOCUMENTED)
        self.change(limits)
        self._accepted: dict[tuple[str, str], deque[float]] = {}

    def change(self, limits: dict[str, Any]) -> None:
        """Set some limits; 0 means none.

        :raises ControlError: not a call that has a limit, or not a number.
        """
        for call, limit in limits.items():
            if call not in DOCUMENTED:
                raise ControlError(f"there is no limit for '{call}'; calls with a limit are {', '.join(DOCUMENTED)}")
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
                raise ControlError(
                    f"the limit of {call} must be a whole number of calls a minute (0: none), not {limit!r}"
                )
        self.limits.update(limits)

    def admit(self, client: str, call: str) -> int | None:
        """Count a call; returns None if it is accepted, otherwise the seconds to retry after."""
        now = time.monotonic()
        accepted = self._accepted.setdefault((client, call), deque())
        while accepted and accepted[0] <= now - MINUTE:
            accepted.popleft()
        limit = self.limits.get(call, 0)
        if limit and len(accepted) >= limit:
            return max(1, math.ceil(accepted[-limit] + MINUTE - now))
        accepted.append(now)
        return None


class Statistics:
    """What was called how often since the start or the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.jobs: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.bytes_served = 0
        self._data_posts: list[float] = []

    def call(self, endpoint: str, status: int) -> None:
        """Count a call that was answered."""
        self.calls[endpoint] += 1
        self.statuses[str(status)] += 1
        if status == 429:
            self.refused[endpoint] += 1
        if endpoint == "data":
            self._data_posts.append(time.monotonic())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        posts = self._data_posts
        busiest = max((bisect_right(posts, posts[i] + MINUTE) - i for i in range(len(posts))), default=0)
        return {
            "calls": dict(self.calls),
            "statuses": dict(self.statuses),
            "too_many_requests": sum(self.refused.values()),
            "too_many_requests_by_call": dict(self.refused),
            "data_posts_busiest_minute": busiest,
            "jobs": dict(self.jobs),
            "bytes_served": self.bytes_served,
        }
