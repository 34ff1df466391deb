"""What a person reads after a run: results, notification, where things are."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.aws import Notification
from local.command.progress import GOOD_STATES, failure
from local.compare import TableDifference
from local.stack.client import StackClient

DIFFERENCES_SHOWN = 10
GAP = 2
"""Spaces between two columns of the results."""
WORDS = {"complete_with_schema_update": "schema update"}


def shown(path: Path) -> str:
    """A path, relative to the current folder if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def size(number: int) -> str:
    """A number of bytes, human-readable."""
    amount = float(number)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} GB"


def counted(number: int, what: str) -> str:
    """`1 table`, `109 tables`."""
    return f"{number:,} {what}" + "s" * (number != 1)


@dataclass(frozen=True)
class Column:
    """One column of the results; a narrow terminal leaves out what it has no room for, lowest ``worth`` first."""

    title: str
    text: Callable[[dict[str, Any]], str]
    number: bool = False
    worth: int = 9


COLUMNS = (
    Column("table", lambda result: f"{result['namespace']}.{result['table']}"),
    Column("action", lambda result: result["action"], worth=2),
    Column("state", lambda result: WORDS.get(result["state"], result["state"])),
    Column("written", lambda result: f"{result['rows_upserted']:,}", number=True),
    Column("deleted", lambda result: f"{result['rows_deleted']:,}", number=True),
    Column("download", lambda result: size(result["bytes_downloaded"]), number=True, worth=1),
    Column("seconds", lambda result: f"{result['duration_s']:.1f}", number=True, worth=3),
    Column("data as of", lambda result: (result["data_as_of"] or "-")[5:16].replace("T", " "), worth=4),
)


def _fitting(results: list[dict[str, Any]], width: int) -> list[Column]:
    """The columns for which there is room."""
    widths = {column: max([len(column.title), *(len(column.text(result)) for result in results)]) for column in COLUMNS}
    kept = list(COLUMNS)
    for column in sorted(COLUMNS, key=lambda each: each.worth):
        if column.worth < 9 and sum(widths[each] for each in kept) + GAP * (len(kept) - 1) > width:
            kept.remove(column)
    return kept


def print_results(console: Console, results: list[dict[str, Any]], logs: dict[str, Path]) -> None:
    """One line a table, failures first, then the totals.

    :param logs: `namespace.table` -> the log file of its last task.
    """
    failed = [result for result in results if result["state"] not in GOOD_STATES]
    columns = _fitting(results, console.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        # a name is never cut, however narrow the terminal: it is what one looks for
        least = max((len(column.text(result)) for result in results), default=0) if column is COLUMNS[0] else None
        justify: Literal["left", "right"] = "right" if column.number else "left"
        table.add_column(column.title, justify=justify, no_wrap=True, min_width=least)
    for result in failed + [result for result in results if result not in failed]:
        style = "red" if result in failed else ("" if result["rows_upserted"] or result["rows_deleted"] else "dim")
        table.add_row(*(column.text(result) for column in columns), style=style)
    console.print(table)
    for result in failed:
        name, reason = failure(result)
        error = result["error"] or {"class": "failed", "uuid": None}
        uuid = f", uuid {error['uuid']}" if error["uuid"] else ""
        console.print(
            f"[red]{escape(name)}[/]: {escape(reason)} [dim]({escape(error['class'])}{uuid})[/]", soft_wrap=True
        )
        if name in logs:
            console.print(f"  [dim]log: {escape(shown(logs[name]))}[/]", soft_wrap=True)
    written, deleted, loaded = (
        sum(result[key] for result in results) for key in ("rows_upserted", "rows_deleted", "bytes_downloaded")
    )
    outcome = f"[red]{len(failed)} failed[/]" if failed else "[green]all complete[/]"
    console.print(
        f"[bold]{counted(len(results), 'table')}[/], {outcome}; {written:,} rows written, {deleted:,} deleted, "
        f"{size(loaded)} downloaded. Times are UTC.",
    )


def print_notifications(console: Console, notifications: list[Notification]) -> None:
    """The messages as the subscriber of the SNS topic received them."""
    if not notifications:
        console.print("[red]No notification arrived through SNS.[/]")
    for notification in notifications:
        attributes = "  ".join(f"{name}={value}" for name, value in sorted(notification.attributes.items()))
        console.print("\n[bold]Notification, received through SNS and SQS[/]")
        console.print(f"  [bold]{escape(notification.subject)}[/]", soft_wrap=True)
        console.print(f"  [dim]{escape(attributes)}[/]\n", soft_wrap=True)
        for line in notification.body.strip().splitlines():
            console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)


def print_chatbot(console: Console, message: dict[str, Any] | None) -> None:
    """The notification in the format of Amazon Q Developer in chat applications."""
    if message is None:
        return
    console.print("\n[bold]The same for a chat[/]  [dim](cd2.notification_format = chatbot)[/]")
    for line in json.dumps(message, indent=2).splitlines():
        console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)


def print_comparison(console: Console, differences: list[TableDifference]) -> bool:
    """One line if everything is equal, otherwise the differences; returns whether everything is equal."""
    unequal = sorted((difference for difference in differences if not difference.equal), key=lambda each: each.absent)
    if not unequal:
        rows = sum(difference.rows for difference in differences)
        console.print(
            f"[green]Compared with the simulator's truth: {counted(len(differences), 'table')}, {rows:,} rows, "
            "every value is equal.[/]\n",
            soft_wrap=True,
        )
        return True
    total = len(differences)
    console.print(f"[red]Compared with the simulator's truth: {len(unequal)} of {total} tables differ.[/]")
    for difference in unequal[:DIFFERENCES_SHOWN]:
        counts = f"{difference.missing} missing, {difference.superfluous} superfluous, {difference.changed} changed"
        first, *more = [*difference.problems, *([counts] if difference.rows else []), *difference.examples]
        console.print(f"  [red]{escape(difference.table)}[/]: {escape(first)}", soft_wrap=True)
        for line in more[:3]:
            console.print(f"    {escape(line)}", soft_wrap=True, highlight=False)
    if len(unequal) > DIFFERENCES_SHOWN:
        console.print(f"  and {len(unequal) - DIFFERENCES_SHOWN} more.")
    if absent := sum(difference.absent for difference in unequal):
        console.print(
            f"The replica does not have {counted(absent, 'table')}: make run brings all of them, and TABLES= compares "
            "only some.",
            soft_wrap=True,
        )
    return False


def psql_line(stack: StackClient) -> str:
    """A command that opens the replica in any psql; the password is in the file it names."""
    port = stack.folder.port("postgres")
    return f"PGPASSFILE={shown(stack.folder.pgpass)} psql -h 127.0.0.1 -p {port} -U cd2 cd2"


def print_places(console: Console, stack: StackClient, *, log_in: bool) -> None:
    """Where everything is. ``log_in``: with Airflow's password."""
    known = f"user admin, password {stack.folder.secret('airflow_admin')}"
    lines = {
        "Airflow": (stack.ui, *([known] if log_in else [])),
        "Replica": ("make psql, or", psql_line(stack)),
        "Simulator": (f"{stack.simulator_url}/ lists what can be done there",),
        "Logs": _logs(stack),
    }
    _print_lines(console, lines)


def print_kept(console: Console, stack: StackClient) -> None:
    """What can be done when the stack of a run has stopped: its addresses no longer answer then."""
    lines = {
        "make up": (
            "the same stack, to look around: Airflow and its page Canvas Data;",
            "the links in the notification work then",
        ),
        "make psql": ("the replica",),
        "make run": ("again: some rows change, and are synced",),
        "Logs": _logs(stack),
    }
    console.print("The local stack is stopped. To go on:")
    _print_lines(console, lines)


def _logs(stack: StackClient) -> tuple[str, str]:
    return "make logs, or", f"{shown(stack.folder.logs)}/, tasks: {shown(stack.folder.airflow / 'logs')}/"


def _print_lines(console: Console, lines: dict[str, tuple[str, ...]]) -> None:
    for name, (first, *more) in lines.items():
        console.print(f"  [bold]{name:<10}[/] {escape(first)}", soft_wrap=True, highlight=False)
        for line in more:
            console.print(f"{'':13}{line}", soft_wrap=True, highlight=False, markup=False)
