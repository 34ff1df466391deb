"""`make run`: one run of the DAG, its progress, and a report of the result."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.markup import escape

from local.airflow.api import DAG_ID
from local.command import report
from local.command.progress import GOOD_STATES, Progress
from local.command.running import check_usable, is_running
from local.command.service import Stopped
from local.command.watch import watch
from local.compare import compare
from local.errors import LocalStackError
from local.settings import DOCUMENTED_PACE, Options
from local.simulator.control import SimulatorControl
from local.stack import Stack
from local.stack.client import StackClient

CHANGED_FRACTION = 0.05


def run(options: Options, console: Console) -> int:
    """Run the DAG once, on the running stack or on one of our own; returns the exit status."""
    client = StackClient(options.directory)
    if is_running(client):
        check_usable(client, options, "run")
        if active := client.api.unfinished_runs():
            raise LocalStackError(f"Run {active[0]} is still running; watch it at {client.ui}, or `make down`.")
        _say(console, f"On the stack that is already running, {client.ui}")
        complete = _run_on(client, options, console)
        report.print_places(console, client, log_in=False)
    else:
        with started(options, console, "make run") as stack:
            complete = _run_on(stack, options, console)
        report.print_kept(console, stack)
    return 0 if complete else 1


def _run_on(stack: StackClient, options: Options, console: Console) -> bool:
    """Run the DAG, and again to verify if that is wanted; returns whether everything is complete and equal."""
    wanted = options.wanted(stack.simulator.tables())
    _say_pace(stack, console)
    complete, compared = _one_run(stack, wanted, _conf(options), options, console)
    if options.verify and complete:
        _say(console, "Now every table is compared with a new snapshot, while it changes.")
        verified, _ = _one_run(stack, wanted, {"tables": wanted, "verify": True}, options, console)
        complete &= verified
    if options.check and compared:
        complete &= report.print_comparison(console, compare(stack.simulator_url, stack.replica_dsn, wanted))
    return complete


def _one_run(
    stack: StackClient, wanted: list[str], conf: dict[str, Any], options: Options, console: Console
) -> tuple[bool, bool]:
    """Let time pass, run the DAG, report; returns whether every table is complete, and whether there are results."""
    if _replica_has_data(stack):
        _let_time_pass(stack, wanted, console)
    stack.notifications()
    progress = Progress(stack, stack.trigger(conf))
    console.print(f"Run [bold]{escape(progress.run_id)}[/] of {report.counted(len(wanted), 'table')}", highlight=False)
    began = time.monotonic()
    try:
        watch(stack, progress, console)
    except Stopped:
        _end_run(stack, progress.run_id, console)
        raise
    _say(console, f"The run took {time.monotonic() - began:.0f} s: {progress.state}.\n")
    complete = _print_outcome(stack, progress, console)
    report.print_notifications(console, stack.notifications())
    if options.chatbot:
        report.print_chatbot(console, stack.api.xcom(progress.run_id, "notify", key="chatbot"))
    console.print()
    return complete, bool(progress.results)


@contextlib.contextmanager
def started(options: Options, console: Console, purpose: str) -> Iterator[Stack]:
    """Start a stack of our own, say how long that took, and stop it at the end."""
    stack = Stack.from_options(options, purpose)
    stack.on_stop = lambda: _say(console, "Stopping the local stack ...")
    first = "" if stack.folder.exists else ", the first time"
    began = time.monotonic()
    text = f"Starting the local stack in {report.shown(stack.folder.path)}{first} ..."

    def known_tables(simulator: SimulatorControl) -> None:
        options.wanted(simulator.tables())

    if console.is_terminal:
        with console.status(text):
            stack.start(known_tables)
    else:
        _say(console, text)
        stack.start(known_tables)
    try:
        _say(console, f"The local stack is up after {time.monotonic() - began:.0f} s.")
        if stack.postgres and stack.postgres.notice:
            _say(console, stack.postgres.notice)
        yield stack
    finally:
        stack.stop()


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _end_run(stack: StackClient, run_id: str, console: Console) -> None:
    """End a run whose person does not want to wait for it, and say so."""
    loaded = "What is loaded stays; the next `make run` does the rest."
    if isinstance(stack, Stack):
        _say(console, f"The run ends with its stack. {loaded}")
        return
    _say(console, f"Stopping the run {run_id} ...")
    try:
        stack.api.fail_run(run_id)
    except LocalStackError as error:
        _say(console, f"It could not be stopped, and still runs: {error} Watch it at {stack.ui}, or `make down`.")
        return
    _say(console, f"The run is marked as failed; its tasks end within seconds.\n{loaded}")
    _say(console, f"The local stack still runs: {stack.ui}, `make down` stops it.")


def _say_pace(stack: StackClient, console: Console) -> None:
    rate = stack.folder.config()["job_creations_per_minute"]
    if rate == DOCUMENTED_PACE:
        text = f"Pace: {DOCUMENTED_PACE} job creations a minute, and jobs take seconds, as at Instructure."
    else:
        text = f"Pace: no limit here; Instructure allows {DOCUMENTED_PACE} job creations a minute (PACE=real)."
    _say(console, text)


def _conf(options: Options) -> dict[str, Any]:
    conf: dict[str, Any] = {"namespaces": list(options.namespaces), "full_refresh": options.full_refresh}
    if options.tables:
        conf["tables"] = list(options.tables)
    return conf


def _replica_has_data(stack: StackClient) -> bool:
    with psycopg.connect(stack.replica_dsn) as connection:
        try:
            found = connection.execute("SELECT EXISTS (SELECT FROM instructure_dap.table_sync)").fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return False
    return bool(found and found[0])


def _let_time_pass(stack: StackClient, wanted: list[str], console: Console) -> None:
    """Change some rows of every table, unless an earlier run has asked DAP for it and was stopped before it loaded.

    The job of such a table is loaded now, and has nothing that changes after it was asked for: the replica would
    rightly differ from the simulator's truth.
    """
    asked = stack.tables_with_a_job().intersection(wanted)
    passing = [name for name in wanted if name not in asked]
    if asked:
        number = report.counted(len(asked), "table")
        _say(console, f"No time passes for {number}: a stopped run has already asked DAP for the changes.")
    if not passing:
        return
    changes = stack.simulator.advance(CHANGED_FRACTION, passing)
    inserts, updates, deletes = (
        sum(change[kind] for change in changes.values()) for kind in ("inserts", "updates", "deletes")
    )
    changed = sum(any(change.values()) for change in changes.values())
    _say(
        console,
        f"Time passed at the simulator, in {changed} of {report.counted(len(passing), 'table')}:\n"
        f"{inserts:,} rows inserted, {updates:,} updated, {deletes:,} deleted.",
    )


def _print_outcome(stack: StackClient, progress: Progress, console: Console) -> bool:
    """Print the results, or why there are none; returns whether every table is complete."""
    results = sorted(progress.results.values(), key=lambda result: (result["namespace"], result["table"]))
    logs = {}
    for index, result in progress.results.items():
        if instance := progress.instance_of(index):
            logs[f"{result['namespace']}.{result['table']}"] = log_path(stack, progress.run_id, instance)
    if results:
        report.print_results(console, results, logs)
    for task_id in ("prepare_database", "list_tables"):
        instance = progress.task(task_id)
        if instance and instance["state"] == "failed":
            reason = stack.api.xcom(progress.run_id, task_id, key="error") or "it gave no reason"
            console.print(f"[red]{task_id} failed[/]: {escape(str(reason))}", soft_wrap=True)
            path = report.shown(log_path(stack, progress.run_id, instance))
            console.print(f"  [dim]log: {escape(path)}[/]", soft_wrap=True)
    good = bool(results) and all(result["state"] in GOOD_STATES for result in results)
    notify = progress.task("notify")
    if good and notify and notify["state"] != "success":
        path = report.shown(log_path(stack, progress.run_id, notify))
        console.print(f"[red]notify failed[/]; log: {escape(path)}", soft_wrap=True)
    return good and progress.state == "success"


def log_path(stack: StackClient, run_id: str, instance: dict[str, Any]) -> Path:
    """The log file of a task's last try."""
    index = f"map_index={instance['map_index']}" if instance["map_index"] >= 0 else ""
    folder = stack.folder.airflow / "logs" / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={instance['task_id']}"
    return folder / index / f"attempt={max(1, instance['try_number'])}.log"
