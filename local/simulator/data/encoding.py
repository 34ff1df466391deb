"""How typed values are written: as DAP's TSV, and as the truth for comparison."""

import json
import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from local.simulator.data.columns import Column

_ESCAPES = {
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_TRANSLATION = str.maketrans(_ESCAPES)


def timestamp_text(moment: datetime) -> str:
    """RFC 3339 in UTC; a fraction of milliseconds or microseconds only where there is one."""
    text = moment.replace(tzinfo=None, microsecond=0).isoformat()
    if not moment.microsecond:
        return text + "Z"
    fraction = f"{moment.microsecond:06d}"
    return f"{text}.{fraction[:3] if fraction.endswith('000') else fraction}Z"


def moment_text(milliseconds: int) -> str:
    """Milliseconds since 1970, in the same form."""
    return timestamp_text(datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds))


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def plain_text(value: Any) -> str:
    """A value as text, not escaped yet; JSON for dict and list."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return _float_text(value)
        case datetime():
            return timestamp_text(value)
        case time():
            return value.isoformat() + "Z"
        case date():
            return value.isoformat()
        case dict() | list():
            return json.dumps(_jsonable(value), ensure_ascii=False, separators=(",", ":"))
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def _jsonable(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else _float_text(value)
        case dict():
            return {name: _jsonable(item) for name, item in value.items()}
        case list():
            return [_jsonable(item) for item in value]
        case _:
            return plain_text(value)


class Tsv:
    """Tab-separated values, as PostgreSQL's COPY reads them."""

    separator = b"\t"

    def cell(self, value: Any) -> bytes:
        """One field."""
        return b"\\N" if value is None else _escaped(plain_text(value))

    def deleted(self, head: bytes, values: int) -> bytes:
        """The line of a deleted row: of its fields only the key."""
        return self.separator.join([head, *[b"\\N"] * values])

    def head(self, meta: list[bytes], key: list[bytes]) -> bytes:
        """Everything before the values; ``meta``: the timestamp, and of a change also the action."""
        return self.separator.join([*meta, *key])

    def lines(self, heads: list[bytes], bodies: list[list[bytes]]) -> list[bytes]:
        """Whole lines, without their ends, of heads and one list of segments a group."""
        if not bodies:
            return heads
        join = self.separator.join
        return [join(parts) for parts in zip(heads, *bodies, strict=True)]


class Truth(Tsv):
    """JSON lists of typed values, key first: what a replica must hold."""

    separator = b","

    def cell(self, value: Any) -> bytes:
        return _json(_jsonable(value))

    def head(self, _meta: list[bytes], key: list[bytes]) -> bytes:
        return b"[" + b",".join(key)

    def lines(self, heads: list[bytes], bodies: list[list[bytes]]) -> list[bytes]:
        return [line + b"]" for line in super().lines(heads, bodies)]


def header(columns: Sequence[Column], incremental: bool) -> bytes:
    """The first line of every TSV object."""
    names = ["meta.ts", *(["meta.action"] if incremental else [])]
    names += [f"{'key' if column.key else 'value'}.{column.name}" for column in columns]
    return TSV.separator.join(map(_escaped, names)) + b"\n"


def _escaped(text: str) -> bytes:
    return text.translate(_TRANSLATION).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


TSV = Tsv()
TRUTH = Truth()
