"""A DAG that rests while its environment is updated: MWAA stops running tasks then, and does not wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scripts.aws import AwsError
from scripts.mwaa import DAG_ID, USABLE, Mwaa, MwaaError, RestRefused

WAIT_MINUTES = 60
"""For how long a running run is waited for. Without first loads, a run takes about 20 minutes."""


@contextmanager
def paused(
    mwaa: Mwaa, wait_minutes: float, tell: Callable[[str], None] = print, interval_s: float = 15.0
) -> Iterator[None]:
    """Wait until no run is running, pause the DAG, and unpause it at the end; it stays paused if it was.

    In this order: Airflow begins no task of a paused DAG, so a run of one never ends.

    :param wait_minutes: 0: neither wait nor pause.
    :raises MwaaError, AwsError: Airflow does not respond, or a run takes longer; the DAG is as it was.
    """
    if not wait_minutes:
        yield
        return
    try:
        pause = mwaa.environment().status in USABLE and _rest(mwaa, wait_minutes, tell, interval_s)
    except StillRunning:
        raise
    except (MwaaError, AwsError) as problem:
        raise MwaaError(_cannot(str(problem))) from None
    try:
        yield
    finally:
        if pause:
            _unpause(mwaa, tell)


class StillRunning(MwaaError):
    """A run took longer than it was waited for."""


def _cannot(problem: str) -> str:
    return (
        f"{problem} So {DAG_ID} cannot be paused before the update. With WAIT=0 it is updated all the same: tasks that "
        "run then are stopped, and Airflow tries them again."
    )


def _paused(mwaa: Mwaa) -> bool | None:
    """Whether the DAG is paused; None if Airflow does not have it."""
    try:
        return bool(mwaa.call("GET", f"/dags/{DAG_ID}")["is_paused"])
    except RestRefused as refused:
        if refused.status == 404:
            return None
        raise


def _rest(mwaa: Mwaa, minutes: float, tell: Callable[[str], None], interval_s: float) -> bool:
    """Wait until nothing runs; returns whether the DAG was paused for that."""
    deadline = time.monotonic() + minutes * 60
    told = None
    while (was_paused := _paused(mwaa)) is not None:
        running = _running(mwaa, "dagRuns/~/taskInstances" if was_paused else "dagRuns")
        if not running and was_paused:
            return False
        if not running:
            mwaa.pause(True)
            try:
                running = _running(mwaa, "dagRuns")  # one may have begun in between
            except BaseException:
                _unpause(mwaa, tell)
                raise
            if not running:
                tell(f"{DAG_ID} is paused during the update")
                return True
            mwaa.pause(False)
        if time.monotonic() > deadline:
            raise StillRunning(
                f"The run {running[0]} is still running after {minutes:g} minutes, and an update would stop its "
                "tasks. Run this again later, wait longer (WAIT=240, in minutes), or update at once (WAIT=0): tables "
                "that load then keep their old rows, and Airflow tries them again. Nothing was changed."
            )
        if running[0] != told:
            tell(f"waiting for the run {running[0]} (at most {minutes:g} minutes)")
            told = running[0]
        time.sleep(interval_s)
    return False


def _running(mwaa: Mwaa, what: str) -> list[str]:
    """The runs that are running, or those with running tasks."""
    found = mwaa.call("GET", f"/dags/{DAG_ID}/{what}", query={"state": "running", "limit": 100})
    return [each["dag_run_id"] for each in found.get("dag_runs") or found.get("task_instances") or ()]


def _unpause(mwaa: Mwaa, tell: Callable[[str], None]) -> None:
    try:
        mwaa.pause(False)
        tell(f"{DAG_ID} is unpaused again")
    except (MwaaError, AwsError) as problem:
        tell(f"{DAG_ID} is still paused: unpause it in Airflow. {problem}")
