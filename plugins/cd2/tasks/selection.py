"""Which namespaces and tables a run works on: by the settings and the trigger form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from cd2.replication.errors import TableFailure
from cd2.replication.names import NAMESPACES, TableName
from cd2.settings import Settings


def wanted_namespaces(settings: Settings, params: Any) -> tuple[str, ...]:
    """The namespaces of the trigger form, otherwise those of the settings.

    :raises TableFailure: a name that the DAP client cannot replicate.
    """
    chosen = tuple(params.get("namespaces") or settings.namespaces)
    if unknown := [name for name in chosen if name not in NAMESPACES]:
        raise TableFailure(f"Unknown namespace {', '.join(unknown)}: the namespaces are {', '.join(NAMESPACES)}.")
    return chosen


def choose_tables(listed: Sequence[TableName], settings: Settings, requested: Sequence[str]) -> list[TableName]:
    """Which of the listed tables to work on.

    :param requested: names or shell wildcards from the trigger form; empty: all that the settings include.
    :raises TableFailure: a requested or included name matches no table.
    """
    for source, patterns in (("The trigger form", requested), ("[cd2] include_tables", settings.include_tables)):
        if unknown := [pattern for pattern in patterns if not any(_matches(name, pattern) for name in listed)]:
            raise TableFailure(
                f"{source} names {', '.join(unknown)}, but DAP lists no such table in "
                f"{json.dumps(sorted({name.namespace for name in listed}))}. It lists: "
                f"{', '.join(map(str, listed))}."
            )
    included = requested or settings.include_tables or ("*",)
    return [
        name
        for name in listed
        if any(_matches(name, pattern) for pattern in included)
        and not any(_matches(name, pattern) for pattern in settings.skip_tables)
    ]


def _matches(name: TableName, pattern: str) -> bool:
    """`table` or `namespace.table`, shell wildcards allowed."""
    return fnmatchcase(str(name), pattern) or fnmatchcase(name.table, pattern)
