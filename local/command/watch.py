"""What a person sees while a run goes on: how many tables are in which phase, and which; in a terminal or in a log."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.command.progress import Phase, Progress, failure
from local.stack.client import StackClient

POLL_EVERY = 2.0
LINE_EVERY = 5.0
"""Seconds between two lines of a log, if something has changed."""
SIGN_OF_LIFE_EVERY = 60.0
"""The same if nothing has."""
LOG_WIDTH = 80
INDENT = " " * 8
BAR_WIDTH = 30
STYLES = {Phase.DONE: "green", Phase.FAILED: "red", Phase.LOADING: "bold", Phase.RETRY: "yellow"}
ABOVE = (Phase.LOADING, Phase.AT_DAP, Phase.TURN, Phase.WORKER, Phase.RETRY, Phase.FAILED, Phase.DONE)
"""From what goes on to what is over."""


def watch(stack: StackClient, progress: Progress, console: Console) -> None:
    """Show a run until it ends.

    :raises LocalStackError: the stack breaks down.
    """
    if console.is_terminal:
        _watch_in_terminal(stack, progress, console)
    else:
        _watch_in_log(stack, progress, console)


def clock(seconds: float) -> str:
    """A duration as `1:05` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fitting(names: Sequence[str], width: int) -> str:
    """As many names as fit, and how many there are beyond: `canvas.users, canvas.roles +7`."""
    for shown in range(len(names), 0, -1):
        text = ", ".join(names[:shown]) + (f" +{len(names) - shown}" if names[shown:] else "")
        if len(text) <= width:
            return text
    if not names:
        return ""
    more = f" +{len(names) - 1}" if names[1:] else ""
    return names[0][: max(0, width - len(more) - 3)] + "..." + more


def log_lines(progress: Progress, elapsed: float, width: int = LOG_WIDTH) -> str:
    """The state of a run for a log: the numbers, then the names of what goes on."""
    phases = progress.phases()
    done = len(phases.pop(Phase.DONE, ()))
    numbers = [f"{len(names)} {phase.value}" for phase in ABOVE if (names := phases.get(phase))]
    head = f"{done} of {progress.total} done" if progress.total else ""
    text = ", ".join(part for part in (head, *numbers, progress.step()) if part)
    text += f"; {progress.rows:,} rows" * bool(progress.total)
    lines = textwrap.wrap(
        text, width, initial_indent=f"{clock(elapsed):>6}  ", subsequent_indent=INDENT, break_long_words=False
    )
    going_on = next((phase for phase in ABOVE[:4] if phase in phases), None)
    for phase in (going_on, Phase.RETRY):
        if phase in phases:
            title = f"{INDENT}{phase.value}: "
            lines.append(title + fitting(phases[phase], width - len(title)))
    return "\n".join(lines)


def screen(progress: Progress, elapsed: float, width: int) -> RenderableType:
    """The state of a run for a terminal: a bar, and a line for each phase that has tables."""
    phases = progress.phases()
    done = len(phases.get(Phase.DONE, ()))
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=progress.total or None, completed=len(progress.results), width=BAR_WIDTH)
    of = f"{done} of {progress.total} tables done" if progress.total else "tables"
    head.add_row(Text(of, style="bold"), bar, f"{progress.rows:,} rows", clock(elapsed))
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right", width=5)
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True)
    longest = max(len(phase.value) for phase in Phase)
    for phase in ABOVE:
        if names := phases.get(phase):
            style = STYLES.get(phase, "")
            shown = fitting(names, width - longest - 8)
            rows.add_row(Text(str(len(names)), style), Text(phase.value.ljust(longest), style), Text(shown, "dim"))
    if step := progress.step():
        rows.add_row("", step, "")
    return Group(head, rows)


def _watch_in_terminal(stack: StackClient, progress: Progress, console: Console) -> None:
    began = time.monotonic()
    told: set[int] = set()

    def now() -> RenderableType:
        return screen(progress, time.monotonic() - began, console.width)

    with Live(get_renderable=now, console=console, transient=True, refresh_per_second=2):
        while not progress.ended:
            stack.check()
            progress.refresh()
            _tell_failures(progress, console, told)
            time.sleep(POLL_EVERY)


def _watch_in_log(stack: StackClient, progress: Progress, console: Console) -> None:
    began = printed = time.monotonic()
    told: set[int] = set()
    last = ""
    while not progress.ended:
        stack.check()
        progress.refresh()
        _tell_failures(progress, console, told)
        waited = time.monotonic() - printed
        changed = log_lines(progress, 0.0) != last
        if waited >= (LINE_EVERY if changed else SIGN_OF_LIFE_EVERY):
            printed = time.monotonic()
            last = log_lines(progress, 0.0)
            console.print(log_lines(progress, printed - began), highlight=False, markup=False, soft_wrap=True)
        time.sleep(POLL_EVERY)


def _tell_failures(progress: Progress, console: Console, told: set[int]) -> None:
    """Name each table that has failed for good, as soon as it has."""
    for index in progress.failures() - told:
        told.add(index)
        name, reason = failure(progress.results[index])
        console.print(f"  [red]{escape(name)} failed[/]: {escape(reason)}", highlight=False, soft_wrap=True)
