"""What can be set when the simulator starts and while it runs."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from local.simulator.errors import ControlError

REUSE = ("unchanged", "always", "never")
EMPTY = ("header", "no_objects")


@dataclass
class Settings:
    """Times in seconds.

    :param job_seconds: how long a job takes at least; 0: the POST already answers `complete`.
    :param token_seconds: life of an access token. The official client renews it five minutes before its end.
    :param url_seconds: life of a pre-signed URL.
    :param job_life_seconds: life of jobs and objects.
    :param rows_per_object: rows in one object of a job.
    :param reuse_jobs: whether the same question gets the existing job: while the table is `unchanged`, `always` as long
        as the job lives, or `never`.
    :param empty_result: what a job without rows has: an object with a `header` only, or `no_objects`.
    """

    job_seconds: float = 0.0
    token_seconds: float = 3600.0
    url_seconds: float = 900.0
    job_life_seconds: float = 86400.0
    rows_per_object: int = 100_000
    reuse_jobs: str = "unchanged"
    empty_result: str = "header"

    def change(self, values: dict[str, Any]) -> None:
        """Set some.

        :raises ControlError: an unknown name or an impossible value; nothing is changed then.
        """
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ControlError(f"there is no setting '{name}'; there are {', '.join(sorted(known))}")
            if name in ("reuse_jobs", "empty_result"):
                choices = REUSE if name == "reuse_jobs" else EMPTY
                if value not in choices:
                    raise ControlError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
            elif isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ControlError(f"{name} must be a number that is not negative, not {value!r}")
            elif name == "rows_per_object" and (not isinstance(value, int) or value < 1):
                raise ControlError(f"rows_per_object must be a whole number above 0, not {value!r}")
        for name, value in values.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
