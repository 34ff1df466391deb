"""Which namespaces and tables a run works on: the settings, and what the trigger form asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from cd2.errors import TableFailure
from cd2.settings import NAMESPACES, Settings
from cd2.summary import split_name


def wanted_namespaces(settings: Settings, params: Any) -> tuple[str, ...]:
    """The namespaces of the trigger form, otherwise those of the settings.

    :raises TableFailure: a name that the DAP client cannot replicate.
    """
    chosen = tuple(params.get("namespaces") or settings.namespaces)
    if unknown := [name for name in chosen if name not in NAMESPACES]:
        raise TableFailure(f"Unknown namespace {', '.join(unknown)}: there are {', '.join(NAMESPACES)}.")
    return chosen


def choose_tables(listed: Sequence[str], settings: Settings, asked: Sequence[str]) -> list[str]:
    """Which of the listed tables to work on.

    :param listed: `namespace.table`.
    :param asked: names or shell wildcards from the trigger form; empty: all that the settings include.
    :raises TableFailure: something asked for, or an included name, that matches no table, before any work is done.
    """
    for source, patterns in (("The trigger form", asked), ("[cd2] include_tables", settings.include_tables)):
        if unknown := [pattern for pattern in patterns if not any(_matches(name, pattern) for name in listed)]:
            raise TableFailure(
                f"{source} names {', '.join(unknown)}, but DAP lists no such table in "
                f"{json.dumps(sorted({split_name(name)[0] for name in listed}))}. It lists: {', '.join(listed)}."
            )
    included = asked or settings.include_tables or ("*",)
    return [
        name
        for name in listed
        if any(_matches(name, pattern) for pattern in included)
        and not any(_matches(name, pattern) for pattern in settings.skip_tables)
    ]


def _matches(name: str, pattern: str) -> bool:
    """`table` or `namespace.table`, shell wildcards allowed."""
    return fnmatchcase(name, pattern) or fnmatchcase(split_name(name)[1], pattern)
