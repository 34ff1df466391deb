"""Check a deployment: trigger a dry run of the DAG through MWAA, wait, and report each task.

    python -m scripts.smoke --environment dev

A dry run prepares the database, lists the tables of DAP, and sends the notification. It uses code, packages, network,
database, DAP key, rights and topic, and replicates nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.aws import AwsError
from scripts.mwaa import DAG_ID, Mwaa, MwaaError, RestRefused
from scripts.terraform import Terraform, TerraformError

RUN_TIMEOUT_S = 20 * 60.0
"""Enough to resume a paused database, start a first worker, and run four tasks."""
DAG_TIMEOUT_S = 5 * 60.0
"""MWAA looks for new DAG files every few minutes."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SUBJECT = re.compile(r"^\[(?:OK|WARNING|FAILURE)\] .+$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a dry run.

    :param tasks: state by task id.
    :param message: the notification's subject and text, as `notify` logged it; empty if it could not be read.
    """

    run_id: str
    state: str
    tasks: dict[str, str]
    message: str

    @property
    def subject(self) -> str:
        """The subject of the notification."""
        found = _SUBJECT.search(self.message)
        return found[0] if found else ""


class Smoke:
    """A dry run.

    :param unpause: unpause a paused DAG, as new ones are on MWAA; it is paused again if this run fails.
    :param interval_s: between two polls.
    """

    def __init__(
        self,
        mwaa: Mwaa,
        *,
        unpause: bool = False,
        tell: Callable[[str], None] = print,
        interval_s: float = 5.0,
        run_timeout_s: float = RUN_TIMEOUT_S,
        dag_timeout_s: float = DAG_TIMEOUT_S,
    ) -> None:
        self._mwaa, self._unpause, self._tell = mwaa, unpause, tell
        self._interval_s, self._run_timeout_s, self._dag_timeout_s = interval_s, run_timeout_s, dag_timeout_s

    def run(self) -> Outcome:
        """Trigger a dry run and wait for its end.

        :raises MwaaError, AwsError: it could not be triggered, or does not end; says why, and what to do.
        """
        environment = self._mwaa.usable_environment()
        self._tell(
            f"Airflow {environment.airflow_version} of {environment.name} is {environment.status}, "
            f"https://{environment.webserver}"
        )
        was_paused = self._ready_dag()
        if was_paused:
            self._mwaa.pause(False)
            self._tell(f"{DAG_ID} was paused, as new DAGs are on MWAA; it is unpaused now")
        outcome = None
        try:
            outcome = self._dry_run()
        finally:
            if was_paused and (outcome is None or outcome.state != "success"):
                self._mwaa.pause(True)
                self._tell(f"{DAG_ID} is paused again, because this run did not succeed")
        return outcome

    def _ready_dag(self) -> bool:
        """Wait until Airflow has the DAG; returns whether it is paused (and may be unpaused)."""
        deadline = time.monotonic() + self._dag_timeout_s
        announced = False
        while (dag := self._dag()) is None:
            if errors := self._import_errors():
                raise MwaaError(f"Airflow cannot load the DAG:\n{errors}")
            if time.monotonic() > deadline:
                raise MwaaError(
                    f"Airflow of {self._mwaa.name} does not have {DAG_ID}, and reports no import error: check that "
                    f"dags/{DAG_ID}.py is in the bucket, and see the log group airflow-{self._mwaa.name}-DAGProcessing."
                )
            if not announced:
                self._tell(f"waiting for Airflow to find {DAG_ID} (MWAA looks every few minutes)")
                announced = True
            time.sleep(self._interval_s)
        if errors := self._import_errors():
            self._tell(f"Airflow runs an older version of the DAG; the newest cannot be loaded:\n{errors}")
        if dag.get("is_paused") and not self._unpause:
            raise MwaaError(
                f"{DAG_ID} is paused, so a run would never start: run this again with --unpause, or unpause it in "
                "Airflow."
            )
        return bool(dag.get("is_paused"))

    def _dag(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._mwaa.call("GET", f"/dags/{DAG_ID}")
        except RestRefused as refused:
            if refused.status == 404:
                return None
            raise
        return found

    def _import_errors(self) -> str:
        errors = self._mwaa.call("GET", "/importErrors", query={"limit": 10})["import_errors"]
        parts = [f"{error.get('filename', '?')}:\n{str(error.get('stack_trace', '')).strip()}" for error in errors]
        return "\n".join(parts)

    def _dry_run(self) -> Outcome:
        run_id = short_run_id()
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"dry_run": True}}
        try:
            self._mwaa.call("POST", f"/dags/{DAG_ID}/dagRuns", body)
        except RestRefused as refused:
            # An earlier try of this request succeeded, although MWAA answered with an error.
            if refused.status != 409:
                raise
        self._tell(f"dry run {run_id} triggered")
        state = self._wait(f"/dags/{DAG_ID}/dagRuns/{run_id}")
        instances = self._mwaa.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", query={"limit": 100})
        ordered = sorted(instances["task_instances"], key=lambda ti: ti.get("start_date") or "9")
        tasks = {ti["task_id"]: str(ti["state"]) for ti in ordered}
        tries = {ti["task_id"]: ti.get("try_number") or 1 for ti in ordered}
        return Outcome(run_id, state, tasks, self._message(run_id, max(1, tries.get("notify", 1))))

    def _wait(self, path: str) -> str:
        deadline = time.monotonic() + self._run_timeout_s
        last = ""
        while True:
            state = str(self._mwaa.call("GET", path)["state"])
            if state != last:
                self._tell(f"  {state}")
                last = state
            if state in ("success", "failed"):
                return state
            if time.monotonic() > deadline:
                raise MwaaError(
                    f"The dry run is still {state} after {self._run_timeout_s / 60:.0f} minutes: another run of the "
                    "DAG may be active (only one at a time), or no worker starts. See Airflow's grid, and the "
                    f"log groups airflow-{self._mwaa.name}-Scheduler and -Worker."
                )
            time.sleep(self._interval_s)

    def _message(self, run_id: str, try_number: int) -> str:
        """What `notify` logged. The path of its XCom would be too long for MWAA."""
        try:
            path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/notify/logs/{try_number}"
            events = self._mwaa.call("GET", path)["content"]
        except (MwaaError, AwsError, TypeError, KeyError):
            return ""
        texts = [str(event.get("event", "")) if isinstance(event, dict) else str(event) for event in events]
        return next((text for text in texts if _SUBJECT.match(text)), "\n".join(texts))


def short_run_id() -> str:
    """A run id of 8 characters: with a longer one, the path of the log would be too long for MWAA."""
    number, digits = int(time.time()), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return f"s_{digits}"


def report(outcome: Outcome, name: str) -> bool:
    """Print the outcome; returns whether all is well."""
    for task_id, state in outcome.tasks.items():
        print(f"  {task_id:<28}{state}")
    good = outcome.state == "success"
    if outcome.message and good:
        print(outcome.subject)
    elif outcome.message:
        print(outcome.message.strip())
    else:
        print(f"The log of notify could not be read: see the log group airflow-{name}-Task.")
    return good


def main(argv: list[str] | None = None) -> None:
    """Trigger a dry run through MWAA and report it (`make smoke`)."""
    parser = argparse.ArgumentParser(prog="smoke", description=__doc__.split("\n\n")[0])
    parser.add_argument("--environment", metavar="ENV", help="dev, stg or prod: read the name from Terraform")
    parser.add_argument("--name", help="the name of the MWAA environment, instead")
    parser.add_argument("--region")
    parser.add_argument("--unpause", action="store_true", help="unpause the DAG if it is paused")
    given = parser.parse_args(argv)
    try:
        if given.environment:
            outputs = Terraform(given.environment).opened_outputs()
            given.name, given.region = outputs.mwaa_environment_name, given.region or outputs.region
        if not given.name:
            parser.error("give --environment or --name")
        outcome = Smoke(Mwaa(given.name, given.region), unpause=given.unpause).run()
    except (MwaaError, AwsError, TerraformError) as problem:
        sys.exit(f"smoke: {problem}")
    except KeyboardInterrupt:
        sys.exit("smoke: stopped; the run continues in Airflow.")
    if not report(outcome, given.name):
        sys.exit("smoke: the dry run failed; do what the sentences above say, and run this again.")


if __name__ == "__main__":
    main()
