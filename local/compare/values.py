"""A common form for the values of both sides, so that `==` means what it should."""

import json
import struct
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def _same(value: Any) -> Any:
    return value


def _double(value: Any) -> str:
    # repr keeps apart what == does not (-0.0) and makes equal what == does not (NaN).
    return repr(float(value))


def _single(value: Any) -> str:
    try:
        return repr(struct.unpack("f", struct.pack("f", float(value)))[0])
    except OverflowError:
        return f"beyond float4: {value}"


def _true_moment(value: str) -> str:
    moment = datetime.fromisoformat(value.removesuffix("Z"))
    return _moment_text(moment)


def _moment_text(moment: datetime) -> str:
    return f"{moment.year:04d}-{moment:%m-%d %H:%M:%S}" + (f".{moment:%f}".rstrip("0") if moment.microsecond else "")


def _time(value: str) -> str:
    return time.fromisoformat(value.removesuffix("Z")).isoformat()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


_EXPECTED: dict[str, Callable[[Any], Any]] = {
    "f64": _double,
    "f32": _single,
    "numeric": Decimal,
    "ts": _true_moment,
    "date": lambda value: date.fromisoformat(value).isoformat(),
    "time": _time,
    "uuid": UUID,
    "json": _json,
    "open": _json,
    "loose": _json,
}
_FOUND: dict[str, Callable[[Any], Any]] = {
    "f64": _double,
    "f32": _single,
    "time": _time,
    "json": _json,
    "open": _json,
    "loose": _json,
}


def expected_form(column: dict[str, Any]) -> Callable[[Any], Any]:
    """What makes a value of the truth comparable."""
    return _listed(_EXPECTED.get(column["kind"], _same), column["array"])


def found_form(column: dict[str, Any]) -> Callable[[Any], Any]:
    """What makes a value of the replica comparable."""
    return _listed(_FOUND.get(column["kind"], _same), column["array"])


def _listed(form: Callable[[Any], Any], array: bool) -> Callable[[Any], Any]:
    return (lambda values: [None if value is None else form(value) for value in values]) if array else form
