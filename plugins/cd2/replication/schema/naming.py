"""The names that DAP's columns and their enumeration types have in PostgreSQL, which allows 63 bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterable

log = logging.getLogger(__name__)

MAX_IDENTIFIER = 63
"""The longest name in PostgreSQL, in bytes."""
ALTERNATIVES = 100
"""How many names are tried."""
_SYSTEM = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}


def column_names(names: Iterable[str]) -> dict[str, str]:
    """The names in PostgreSQL of columns, by their names in DAP.

    A name that PostgreSQL cannot hold is cut, and ends in a hash of itself: it does not depend on the other columns,
    unless one of them has just that name.
    """
    names = list(names)
    found = {name: name for name in names if _fits(name)}
    for name in names:
        if name not in found:
            numbered = (_hashed(name, name + "#" * number) for number in itertools.count())
            found[name] = next(candidate for candidate in numbered if candidate not in found.values())
    return {name: found[name] for name in names}


def described_columns(description: str | None) -> dict[str, str]:
    """The columns of a JSON schema of `table_sync`: their names in DAP by those in PostgreSQL."""
    try:
        properties = json.loads(description or "{}").get("properties", {})
        parts = (properties.get(part, {}).get("properties", {}) for part in ("key", "value"))
        return {ours: name for name, ours in column_names(name for part in parts for name in part).items()}
    except (ValueError, AttributeError, TypeError):
        log.warning("The schema in instructure_dap.table_sync cannot be read; no column will be dropped.")
        return {}


def truncated(name: str, size: int = MAX_IDENTIFIER) -> str:
    """A name as PostgreSQL itself cuts it."""
    return name.encode()[:size].decode("utf-8", "ignore")


def alternatives(name: str) -> tuple[str, ...]:
    """A name that PostgreSQL can hold, and those that we take instead, in this order, if it is taken."""
    return (name, *(_hashed(name, name + "!" * number) for number in range(1, ALTERNATIVES)))


def _fits(name: str) -> bool:
    return 0 < len(name.encode()) <= MAX_IDENTIFIER and name not in _SYSTEM


def _hashed(name: str, salted: str) -> str:
    suffix = f"_{hashlib.sha256(salted.encode()).hexdigest()[:8]}"
    return truncated(name, MAX_IDENTIFIER - len(suffix)) + suffix


def type_names(table: str, columns: list[str]) -> dict[str, str]:
    """Names of enumeration types, truncated as PostgreSQL does; a hash keeps two of them from becoming one.

    Nor may one become the table's: a table has a type of its name.
    """
    names: dict[str, str] = {}
    for column in columns:
        full = f"{table}__{column}"
        name = truncated(full)
        if name in names.values() or name == table:
            name = _hashed(full, full)
        names[column] = name
    return names
