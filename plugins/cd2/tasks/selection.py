"""Which namespaces and tables a run works on (by the settings and the trigger form), and in which order."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf

from cd2.replication.errors import Cd2Error, TableFailure
from cd2.replication.names import NAMESPACES, TableName
from cd2.replication.results import Unlisted
from cd2.settings import Settings

if TYPE_CHECKING:
    from cd2.replication.replicator import Replicator

log = logging.getLogger(__name__)

LARGE = tuple(
    TableName.parse(name)
    for name in (
        "canvas_logs.web_logs",
        "canvas.submission_versions",
        "canvas.submissions",
        "canvas.quiz_submissions",
        "canvas.attachments",
        "canvas.content_participations",
        "canvas.context_module_progressions",
        "canvas.conversation_message_participants",
        "canvas.discussion_entry_participants",
        "canvas.scores",
        "canvas.attachment_associations",
        "canvas.learning_outcome_question_results",
        "canvas.discussion_entries",
        "canvas.submission_comments",
        "canvas.content_tags",
        "canvas.enrollments",
        "new_quizzes.session_item_responses",
        "new_quizzes.session_item_results",
    )
)
"""The tables that are large everywhere, largest first: they have a row for each request, for each thing that a student
hands in or must read, or for each file. They count as large until the replica has them."""
SMALL_PER_LARGE = 3
MOST_SIMILAR, SIMILAR = 3, 0.75
"""Suggestions for a name that DAP does not list, and how similar they are (difflib's ratio)."""
_PATTERN = re.compile(r"[a-z0-9_*?\[\]!-]+(\.[a-z0-9_*?\[\]!-]+)?")


def wanted_namespaces(settings: Settings, params: Any) -> tuple[str, ...]:
    """The namespaces of the trigger form, otherwise those of the settings.

    :raises TableFailure: a name that the DAP client cannot replicate.
    """
    chosen = tuple(params.get("namespaces") or settings.namespaces)
    if unknown := [name for name in chosen if name not in NAMESPACES]:
        raise TableFailure(f"Unknown namespace {', '.join(unknown)}: the namespaces are {', '.join(NAMESPACES)}.")
    return chosen


async def list_and_choose(
    replicator: Replicator, settings: Settings, params: Any
) -> tuple[list[TableName], list[Unlisted]]:
    """The tables of a run, sorted by name in each namespace; and those that it would have if DAP still listed them.

    :raises Cd2Error: DAP cannot be asked, or a namespace or name is wrong.
    """
    namespaces, requested = wanted_namespaces(settings, params), params.get("tables") or ()
    listed = [table for namespace in namespaces for table in await replicator.list_tables(namespace)]
    unlisted = await _unlisted(replicator, namespaces, listed)
    chosen = choose_tables(listed, settings, requested, [missing.table for missing in unlisted])
    return chosen, [missing for missing in unlisted if _is_chosen(missing.table, settings, requested)]


async def _unlisted(
    replicator: Replicator, namespaces: Collection[str], listed: Collection[TableName]
) -> Sequence[Unlisted]:
    """None if the replica cannot be asked: a warning is no reason to fail."""
    from cd2.replication.bookkeeping import unlisted
    from cd2.replication.failures import in_our_words

    try:
        with in_our_words("Looking for tables that DAP no longer lists"):
            return await unlisted.note(replicator.replica, namespaces, listed)
    except Cd2Error as error:
        log.warning("%s", error.message)
        return ()


async def sizes_in_replica(replicator: Replicator, tables: Sequence[TableName]) -> Mapping[TableName, int]:
    """Bytes of the tables as far as known; none if the replica cannot be asked: the order is no reason to fail."""
    try:
        return await replicator.sizes({table.namespace for table in tables})
    except Cd2Error:
        return {}


def choose_tables(
    listed: Sequence[TableName], settings: Settings, requested: Sequence[str], unlisted: Sequence[TableName] = ()
) -> list[TableName]:
    """Which of the listed tables to work on.

    :param requested: names or shell wildcards from the trigger form; empty: all that the settings include.
    :param unlisted: tables that DAP no longer lists: that the settings include one is no mistake.
    :raises TableFailure: a requested or included name matches no table; suggests similar names.
    """
    for source, patterns, known in (
        ("The trigger form", requested, listed),
        ("[cd2] include_tables", settings.include_tables, [*listed, *unlisted]),
    ):
        if odd := [pattern for pattern in patterns if not _PATTERN.fullmatch(pattern)]:
            raise TableFailure(
                f"{source} has {', '.join(map(json.dumps, odd))}, which is not a table name: write table or "
                "namespace.table, such as users or canvas.users; * stands for any characters."
            )
        if unknown := [pattern for pattern in patterns if not any(name.matches((pattern,)) for name in known)]:
            raise TableFailure(_not_listed(source, unknown, listed))
    return [name for name in listed if _is_chosen(name, settings, requested)]


def _is_chosen(name: TableName, settings: Settings, requested: Sequence[str]) -> bool:
    included = requested or settings.include_tables or ("*",)
    return name.matches(included) and not name.matches(settings.skip_tables)


def in_turn(
    tables: Sequence[TableName], sizes: Mapping[TableName, int], earlier: Sequence[TableName] = ()
) -> list[TableName]:
    """Tables in the order in which they ask DAP: three small ones, the largest, three small ones, the next largest ...

    DAP takes few questions a minute, so the last of a hundred tables begins 20 minutes after the first. A large table
    there would lengthen the run by its whole load. Large tables alone at the start would hold all slots, and for a long
    time no table would be complete. So the small ones come in ascending order, the largest quarter in descending order
    between them, and the list ends with tables of medium size.

    Sizes count in steps of a factor of four, and tables of one step are sorted by name: tables that grow rarely change
    the order from run to run.

    :param sizes: bytes, where known. Of the others, those in `LARGE` count as larger than all, the rest as empty.
    :param earlier: the order of an earlier listing in the same run. Its tables keep it, and new ones follow: to Airflow
        a table's tasks are their index in the list.
    """
    known = set(earlier)
    if known:
        left = set(tables)
        return [name for name in earlier if name in left] + in_turn([n for n in tables if n not in known], sizes)
    by_size = sorted(tables, key=lambda name: (_step(name, sizes), name))
    large = [name for name in by_size[len(by_size) - len(by_size) // (SMALL_PER_LARGE + 1) :] if _step(name, sizes)]
    large.sort(key=lambda name: (-_step(name, sizes), name))
    chosen = set(large)
    small = [name for name in by_size if name not in chosen]
    ordered: list[TableName] = []
    for number, name in enumerate(large):
        ordered += [*small[number * SMALL_PER_LARGE : (number + 1) * SMALL_PER_LARGE], name]
    return ordered + small[len(large) * SMALL_PER_LARGE :]


def _step(name: TableName, sizes: Mapping[TableName, int]) -> int:
    if name in sizes:
        return (sizes[name].bit_length() + 1) // 2
    # 32 steps hold every size that there is.
    return 32 + len(LARGE) - LARGE.index(name) if name in LARGE else 0


def _not_listed(source: str, unknown: Sequence[str], listed: Sequence[TableName]) -> str:
    namespaces = sorted({name.namespace for name in listed})
    told = f"{source} names {', '.join(unknown)}, but DAP lists no such table in {', '.join(namespaces)}."
    names: dict[str, list[str]] = {}
    for name in listed:
        for spelling in (name.table, str(name)):
            names.setdefault(spelling, []).append(str(name))
    found = [near for pattern in unknown for near in get_close_matches(pattern, names, MOST_SIMILAR, SIMILAR)]
    if similar := list(dict.fromkeys(name for near in found for name in names[near])):
        return f"{told} Did you mean {' or '.join(similar[:MOST_SIMILAR])}?"
    return f"{told} A dry run (dry_run in the trigger form) lists all tables."


def check_number(tables: Collection[TableName]) -> None:
    """Check that Airflow maps as many tables as this.

    :raises TableFailure: it does not; names the option.
    """
    most = conf.getint("core", "max_map_length")
    if len(tables) > most:
        raise TableFailure(
            f"There are {len(tables):,} tables to replicate, but Airflow maps at most {most:,}: raise the Airflow "
            "option core.max_map_length, or select fewer with [cd2] include_tables and skip_tables."
        )
