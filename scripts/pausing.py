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
    """Pause the DAG, wait until no run is running, and unpause it at the end; it stays paused if it was.

    :param wait_minutes: 0: neither pause nor wait.
    :raises MwaaError, AwsError: Airflow does not respond, or a run takes longer; the DAG is as it was.
    """
    if not wait_minutes:
        yield
        return
    try:
        usable = mwaa.environment().status in USABLE
        pause = usable and _paused(mwaa) is False
        if pause:
            mwaa.pause(True)
            tell(f"{DAG_ID} is paused during the update")
    except (MwaaError, AwsError) as problem:
        raise MwaaError(_cannot(str(problem))) from None
    if not usable:
        yield
        return
    try:
        _wait(mwaa, wait_minutes, tell, interval_s)
        yield
    finally:
        if pause:
            _unpause(mwaa, tell)


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


def _wait(mwaa: Mwaa, minutes: float, tell: Callable[[str], None], interval_s: float) -> None:
    deadline = time.monotonic() + minutes * 60
    told = None
    while runs := _running(mwaa):
        if time.monotonic() > deadline:
            raise MwaaError(
                f"The run {runs[0]} is still running after {minutes:g} minutes, and an update would stop its tasks. "
                "Run this again later, wait longer (WAIT=240, in minutes), or update at once (WAIT=0): tables "
                "that load then keep their old rows, and Airflow tries them again. Nothing was changed."
            )
        if runs[0] != told:
            tell(f"waiting for the run {runs[0]} (at most {minutes:g} minutes)")
            told = runs[0]
        time.sleep(interval_s)


def _running(mwaa: Mwaa) -> list[str]:
    try:
        found = mwaa.call("GET", f"/dags/{DAG_ID}/dagRuns", query={"state": "running", "limit": 10})
    except RestRefused as refused:
        if refused.status == 404:
            return []
        raise
    return [run["dag_run_id"] for run in found["dag_runs"]]


def _unpause(mwaa: Mwaa, tell: Callable[[str], None]) -> None:
    try:
        mwaa.pause(False)
        tell(f"{DAG_ID} is unpaused again")
    except (MwaaError, AwsError) as problem:
        tell(f"{DAG_ID} is still paused: unpause it in Airflow. {problem}")
