"""What stories are told with: runs, what became of their tables, and waiting for what shall happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import psycopg

from local.airflow.api import SYNC_TASK
from local.aws import Notification
from local.compare import compare
from local.stack import Stack

NAMES = ["canvas.courses", "canvas.enrollment_states", "canvas.roles", "canvas.users", "canvas_logs.web_logs"]
"""The tables of the stories, as a run lists them."""
CONF: dict[str, object] = {"namespaces": ["canvas", "canvas_logs"], "tables": NAMES}
"""The trigger form that chooses them."""
PATIENCE_S = 600.0
"""For what takes seconds: a busy machine makes no test fail."""
ENDLESS_S = 7200.0


def run(stack: Stack, conf: dict[str, object] | None = None) -> tuple[str, str]:
    """Trigger a run and wait for it: its id and its state."""
    run_id = stack.trigger(CONF | (conf or {}))
    return run_id, stack.wait(run_id, PATIENCE_S)


def clear(stack: Stack, run_id: str, **how: object) -> str:
    """Clear tasks of a run and wait for it: its state."""
    stack.api.clear({"dag_run_id": run_id, **how})
    return stack.wait(run_id, PATIENCE_S)


def states(stack: Stack, run_id: str) -> dict[str, str]:
    """What became of each table, by its name."""
    return {f"{result['namespace']}.{result['table']}": result["state"] for result in stack.results(run_id)}


def tasks(stack: Stack, run_id: str, task_id: str) -> dict[str, str]:
    """State of each mapped instance of a task by the name that the grid shows."""
    return {
        instance["rendered_map_index"]: instance["state"]
        for instance in stack.api.task_instances(run_id)
        if instance["task_id"] == task_id and instance["map_index"] >= 0
    }


def sync_states(stack: Stack, run_id: str) -> list[str | None]:
    """The state of each table's sync, in the order of the list."""
    instances = stack.api.task_instances(run_id)
    return [i["state"] for i in instances if i["task_id"] == SYNC_TASK and i["map_index"] >= 0]


def index_of(stack: Stack, run_id: str, name: str) -> int:
    """The map index of a table."""
    return stack.names(run_id).index(name)


def sync_starts(stack: Stack, run_id: str) -> dict[str, str]:
    """When each table's sync last started."""
    instances = stack.api.task_instances(run_id)
    return {i["rendered_map_index"]: i["start_date"] for i in instances if i["task_id"] == SYNC_TASK}


def assert_equal_to_the_truth(stack: Stack, names: list[str] = NAMES) -> None:
    """Compare every value of these tables."""
    assert [table for table in compare(stack.simulator_url, stack.replica_dsn, names) if not table.equal] == []


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds.

    :param what: said if it never does.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.5)


def the_notification(stack: Stack) -> Notification:
    """The only one since it was last asked for them."""
    return _only(stack.notifications())


def next_notification(stack: Stack) -> Notification:
    """Wait for one, and for no more than one."""
    messages: list[Notification] = []

    def told() -> bool:
        messages.extend(stack.notifications())
        return bool(messages)

    wait_for(told, "a notification")
    return _only(messages)


def _only(messages: list[Notification]) -> Notification:
    assert len(messages) == 1, [message.subject for message in messages]
    return messages[0]


@contextmanager
def jobs_held_back(stack: Stack) -> Iterator[None]:
    """Jobs that are asked for meanwhile are not done before the end, or `finish_jobs`."""
    stack.simulator.job_seconds(ENDLESS_S)
    try:
        yield
    finally:
        stack.simulator.job_seconds(0)
        stack.simulator.finish_jobs()


def forget_what_is_under_way(stack: Stack) -> None:
    """End runs, jobs, faults and messages that another story has left, whatever became of it."""
    for run_id in stack.api.unfinished_runs():
        stack.api.fail_run(run_id)
    stack.simulator.clear_faults()
    stack.simulator.job_seconds(0)
    stack.simulator.finish_jobs()
    with psycopg.connect(stack.replica_dsn) as connection:
        if connection.execute("SELECT to_regclass('cd2.jobs')").fetchone() != (None,):
            connection.execute("DELETE FROM cd2.jobs")
    stack.notifications()


def in_metadata(stack: Stack, statement: str) -> int:
    """Run a statement in Airflow's own database: how many rows it concerned."""
    with psycopg.connect(metadata_dsn(stack)) as connection:
        return connection.execute(statement.encode()).rowcount


def metadata_dsn(stack: Stack) -> str:
    """Airflow's own database."""
    return stack.airflow_environment()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")


def calls_for_failed_runs(stack: Stack) -> int:
    """How often Airflow has called what the DAG names for a failed run: its dag processor does, after the run's end."""
    logs = (stack.folder.airflow / "logs" / "dag_processor").rglob("*.log")
    return sum(log.read_text(errors="replace").count("Executing on_failure dag callback") for log in logs)


@contextmanager
def only_these_tables(stack: Stack, names: Collection[str]) -> Iterator[None]:
    """DAP has these tables, and no other."""
    removed = [name.split(".") for name in stack.simulator.tables() if name not in names]
    for namespace, table in removed:
        stack.simulator.remove_table(namespace, table)
    try:
        yield
    finally:
        for namespace, table in removed:
            stack.simulator.add_table(namespace, table)
