"""`make logs`: what the tasks of the last run said, and what is wrong with the components, if anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from local.airflow.api import DAG_ID, INIT_TASK, LIST_TASK, SYNC_TASK
from local.command.report import shown
from local.settings import Options
from local.stack.folder import Folder

LINES = 5
PROBLEM = re.compile(
    r"\[(?:warning|error|critical) *\]"  # Airflow
    r"|^(?:\w+\.)*\w*(?:Error|Exception)\b"  # the end of a traceback
    r"|\b(?:WARNING|ERROR|FATAL|PANIC):  "  # PostgreSQL
    r"|^Error: |^DAP simulator: (?!http)"  # ours
)
"""A line of a component that says that something is wrong. Most lines are about HTTP requests and heartbeats."""
ALWAYS = re.compile(
    r"\[py\.warnings\]|SimpleAuthManager is active|empty cryptography key|JWT reissue|InvalidAudienceError"
    r"|Could not find DagRun|event for inactive AssetModel"
    r"|the database system is (?:starting up|shutting down)|administrator command"
)
"""Warnings of every start and stop."""
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+")
OURS = re.compile(r"(?:^|\.)cd2\.")
LISTED = re.compile(r"\d+ tables: (.+)")
COLORS = {"warning": "yellow", "error": "red", "critical": "red"}


@dataclass(frozen=True)
class Said:
    """A line of a task's log.

    :param time: as the log has it, ISO 8601.
    """

    time: str
    level: str
    text: str


@dataclass(frozen=True)
class TaskLog:
    """The logs of a task instance: of all its tries, in workers and in the triggerer."""

    task_id: str
    map_index: int
    files: tuple[Path, ...]

    def said(self) -> list[Said]:
        """What our own code logged, and every error; by time."""
        lines = [said for path in self.files for said in _lines(path)]
        return sorted(lines, key=lambda said: said.time)


def logs(options: Options, console: Console) -> int:
    """The logs of components and tasks; with TABLES all that was logged about these tables in the last run."""
    folder = Folder(options.directory)
    run = last_run(folder)
    if not options.tables:
        _print_components(folder, console)
    if run is None:
        console.print("No task has run yet.")
        return 0
    tasks = list(task_logs(run))
    names = _names(tasks)
    run_id = run.name.removeprefix("run_id=")
    if options.tables:
        _print_tables(tasks, names, set(options.wanted(names)), console)
    else:
        console.print(f"\n[bold]Tasks of the last run[/], {run_id}: the last line of each log", highlight=False)
        _print_last_lines(tasks, names, console)
    console.print(f"All logs of this run: {shown(run)}/", highlight=False, soft_wrap=True)
    if not options.tables and names:
        table = names[0].partition(".")[2]
        console.print(f"All lines about a table: make logs TABLES={table}", highlight=False, soft_wrap=True)
    return 0


def last_run(folder: Folder) -> Path | None:
    """The folder with the task logs of the last run; None before the first."""
    runs = (folder.airflow / "logs" / f"dag_id={DAG_ID}").glob("run_id=*")
    return max(runs, key=lambda path: path.stat().st_mtime, default=None)


def task_logs(run: Path) -> Iterator[TaskLog]:
    """Every task instance of a run that has a log."""
    for task in sorted(run.glob("task_id=*")):
        task_id = task.name.removeprefix("task_id=")
        if files := tuple(task.glob("attempt=*.log")):
            yield TaskLog(task_id, -1, files)
        for mapped in task.glob("map_index=*"):
            index = int(mapped.name.removeprefix("map_index="))
            yield TaskLog(task_id, index, tuple(mapped.glob("attempt=*.log")))


def problems(text: str, until: str = "", number: int = LINES) -> list[str]:
    """The last lines of a component's log that say what is wrong.

    :param until: when the stack began to stop (ISO 8601, UTC), which breaks connections and kills; empty: it did not.
    """
    found, time = [], ""
    for line in text.splitlines():
        if stamp := TIME.match(line):
            time = stamp[0].replace(" ", "T")
        if PROBLEM.search(line) and not ALWAYS.search(line) and not (until and time >= until):
            found.append(line)
    return found[-number:]


def _lines(path: Path) -> Iterator[Said]:
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
            said = Said(event["timestamp"], event["level"], str(event["event"]))
        except (ValueError, KeyError, TypeError):
            # a line that was being written, or that a program in the task printed
            continue
        if OURS.search(event.get("logger") or "") or said.level in ("error", "critical"):
            yield said


def _names(tasks: list[TaskLog]) -> list[str]:
    """The tables of the run by map index."""
    for task in tasks:
        if task.task_id == LIST_TASK:
            for said in reversed(task.said()):
                if found := LISTED.fullmatch(said.text):
                    return found[1].split(", ")
    return []


def _name(task: TaskLog, names: list[str]) -> str:
    if task.map_index < 0:
        return task.task_id
    return names[task.map_index] if task.map_index < len(names) else f"{task.task_id} {task.map_index}"


def _print_components(folder: Folder, console: Console) -> None:
    files = sorted(folder.logs.glob("*.log"))
    if not files:
        console.print(f"There are no logs yet in {shown(folder.logs)}.", highlight=False, soft_wrap=True)
        return
    console.print(
        f"[bold]Components[/]: their last warnings and errors; all lines are in {shown(folder.logs)}/",
        highlight=False,
        soft_wrap=True,
    )
    stopped_at = str(folder.config().get("stopped_at", ""))
    quiet = []
    for path in files:
        lines = problems(path.read_text(errors="replace"), stopped_at)
        if not lines:
            quiet.append(path.stem)
            continue
        console.print(f"  [bold]{path.stem}[/]", highlight=False)
        for line in lines:
            console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
    if quiet:
        console.print(f"  none: {', '.join(quiet)}", highlight=False)


def _print_last_lines(tasks: list[TaskLog], names: list[str], console: Console) -> None:
    last: dict[str, Said] = {}
    for task in tasks:
        name = _name(task, names)
        for said in task.said()[-1:]:
            last[name] = max(last.get(name, said), said, key=lambda line: line.time)
    for name, said in sorted(last.items(), key=lambda item: item[1].time):
        first = next(iter(said.text.strip().splitlines()), "")
        text = first if name in first else f"{name}: {first}"
        room = console.width - 12
        # what is wrong is never cut
        _print_line(said, text if said.level in COLORS or len(text) <= room else f"{text[: room - 3]}...", console)


def _print_tables(tasks: list[TaskLog], names: list[str], wanted: set[str], console: Console) -> None:
    found: dict[str, list[Said]] = {name: [] for name in sorted(wanted)}
    for task in tasks:
        if task.task_id in (SYNC_TASK, INIT_TASK) and (name := _name(task, names)) in found:
            found[name] += task.said()
    for name, lines in found.items():
        console.print(f"[bold]{name}[/]", highlight=False)
        if not lines:
            console.print("  nothing yet")
        for said in sorted(lines, key=lambda line: line.time):
            _print_line(said, said.text.strip(), console)


def _print_line(said: Said, text: str, console: Console) -> None:
    style = COLORS.get(said.level, "")
    console.print(f"  {said.time[11:19]}  {text}", style=style, markup=False, highlight=False, soft_wrap=True)
