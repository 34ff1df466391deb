"""The body of a request for data: read, checked, and refused with the place that is wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

from local.simulator.data.encoding import moment_text
from local.simulator.data.table import Table
from local.simulator.service.answers import DapError, invalid
from local.simulator.state.jobs import Query

RETENTION = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PROPERTIES = {"format", "mode", "since", "until"}


def parse_query(table: Table, body: Any, text: str) -> Query:
    """What a request asks for.

    :param text: the body as it came, to tell where it is wrong.
    :raises DapError: a property is unknown or wrong, or DAP no longer has these changes.
    """
    if not isinstance(body, dict):
        raise invalid("The request body must be an object", 0, text)
    _check_properties(body, text)
    namespace, name = table.definition.namespace, table.definition.name
    if body.get("since") is None:
        return Query(namespace, name)
    latest = table.events[-1].at_ms
    since = _milliseconds(body, "since", text)
    until = latest if body.get("until") is None else _milliseconds(body, "until", text)
    _check_range(since, until, latest)
    return Query(namespace, name, since, until)


def _check_properties(body: dict[str, Any], text: str) -> None:
    if unknown := set(body) - _PROPERTIES:
        raise _wrong(min(unknown), f"Unknown property '{min(unknown)}'", text)
    if body.get("format") != "tsv":
        given = f"{body['format']!r} is not offered by this service" if "format" in body else "it is missing"
        raise _wrong("format", f"Property 'format' must be tsv; {given}", text)
    if body.get("mode") not in (None, "condensed", "expanded"):
        raise _wrong("mode", "Property 'mode' must be condensed or expanded", text)
    if body.get("since") is None and body.get("until") is not None:
        raise _wrong("until", "Property 'until' needs 'since'", text)


def _milliseconds(body: dict[str, Any], name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(body[name])
    except (TypeError, ValueError):
        raise _wrong(name, f"Property '{name}' is not a timestamp", text) from None
    if moment.tzinfo is None:
        raise _wrong(name, f"Property '{name}' has no time zone", text)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _wrong(name: str, message: str, text: str) -> DapError:
    """A refusal that points at a property."""
    return invalid(message, max(text.find(f'"{name}"'), 0), text)


def _check_range(since: int, until: int, latest: int) -> None:
    # A table can be quiet for longer than the retention: its own last timestamp always works.
    earliest = min((datetime.now(UTC) - RETENTION - _EPOCH) // timedelta(milliseconds=1), latest)
    if since < earliest or since > latest or until > latest or until < since:
        raise DapError(
            400,
            "OutOfRange",
            "The requested time range is outside of the permitted range",
            since=moment_text(earliest),
            until=moment_text(latest),
        )
