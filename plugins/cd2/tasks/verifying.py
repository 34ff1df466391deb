"""Which tables a run verifies: those of the trigger form, or on its own those that were verified longest ago."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from cd2.replication.errors import Cd2Error, TableFailure

if TYPE_CHECKING:
    from cd2.replication.names import TableName
    from cd2.replication.replicator import Replicator
    from cd2.settings import Settings

VERIFY = "verify"
"""Key of the XCom with the tables that a run verifies on its own."""
FOR_NAMED_TABLES = ("verify", "repair", "accept_shrink")
"""Parameters of the trigger form that nobody should use for all tables."""
NEVER = datetime.min.replace(tzinfo=UTC)


def wants_verification(params: Mapping[str, Any]) -> bool:
    """Whether the trigger form wants a verification."""
    return bool(params.get("verify") or params.get("repair"))


def check_form(params: Mapping[str, Any], known: Collection[str]) -> None:
    """Check the trigger form before anything is done.

    :param known: the parameters of the DAG. The API and the command line take others, too, and nothing would read them.
    :raises TableFailure: an unknown parameter, or parameters that do not fit together.
    """
    if unknown := [name for name in params if name not in known]:
        near = [match for name in unknown for match in get_close_matches(name, known, 1)]
        hint = f"Did you mean {' and '.join(dict.fromkeys(near))}? " if near else ""
        raise TableFailure(
            f"The trigger form has {', '.join(unknown)}, which this DAG does not know. {hint}Its parameters are "
            f"{', '.join(sorted(known))}."
        )
    chosen = [name for name in FOR_NAMED_TABLES if params.get(name)]
    named = params.get("tables") or ()
    if chosen and (not named or any(character in name for name in named for character in "*?[")):
        raise TableFailure(
            f"The trigger form has {' and '.join(chosen)}, which needs named tables: put their names "
            "into tables, without wildcards."
        )
    if wants_verification(params) and params.get("full_refresh"):
        raise TableFailure(
            "The trigger form has full_refresh and a verification: a full refresh makes the tables equal to a "
            "snapshot, so nothing would be left to compare. Choose one of them; repair compares, and corrects only "
            "what differs."
        )


def check_meant(params: Mapping[str, Any], chosen: Iterable[TableName]) -> None:
    """Check that each name stands for one table, if rows may go for good: a name may be in several namespaces.

    :param chosen: the tables that the names stand for.
    :raises TableFailure: one stands for several.
    """
    if not params.get("accept_shrink"):
        return
    for name in params["tables"]:
        meant = [str(table) for table in chosen if table.matches((name,))]
        if len(meant) > 1:
            raise TableFailure(
                f"The trigger form has accept_shrink, but {name} stands for {len(meant)} tables: write which one you "
                f"mean ({', '.join(meant)})."
            )


async def due(
    replicator: Replicator,
    tables: Sequence[TableName],
    sizes: Mapping[TableName, int],
    settings: Settings,
    now: datetime | None = None,
) -> list[str]:
    """Which of these tables a scheduled run verifies on its own.

    Those verified longest ago come first, and of those never verified the small ones. DAP may refuse repeated snapshots
    of a table: it is then left alone for some time.

    :param sizes: bytes, where known.
    :param now: in UTC; None: this moment.
    :returns: `namespace.table`; none in quiet hours, or if the database cannot be asked: no reason to fail.
    """
    if (now or datetime.now(UTC)).hour in settings.quiet_hours:
        return []
    from cd2.replication.verification import journal

    try:
        history = await journal.history(replicator.replica)
    except Cd2Error:
        return []
    left = settings.verify_tables_per_day - sum(known.today for known in history.values())
    candidates = [name for name in tables if name in history and not history[name].refused and not history[name].today]
    candidates.sort(key=lambda name: (history[name].last or NEVER, sizes.get(name, 0), name))
    return [str(name) for name in candidates[: max(left, 0)]]
