"""Typed values of columns and keys: pure functions of the seed, the column and a number, many of them nasty."""

import math
import random
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from local.simulator.data.columns import Column, ColumnType

OVERSIZED = "__dap_oversized_truncated__"
# Cross-shard identifiers of Canvas start here; small and huge keys then occur in the same table.
GLOBAL_ID_OFFSET = 10_000_000_000_000

HURTFUL_TEXTS = (
    "",
    "a\ttab and\ttabs",
    "two\nlines",
    "carriage\rreturn and\r\nboth",
    "back\\slash, \\n not a newline, \\\\ two",
    "a \"quoted\" and a 'quoted' word",
    "\\N",
    "NULL",
    "\\.",
    "😀 🇨🇭 👩‍👩‍👧 emoji",
    "\b\f\v controls",
    OVERSIZED,
    " leading and trailing ",
    "zażółć gęślą jaźń 漢字 עברית",
    "e\u0301 combining, \u00a0 no-break, \u200b zero width, \ufeff mark",
    '{"not": "json column"}',
    "ends with a backslash\\",
    "\t",
    "\n",
    "\\",
    "a,b;c{d}",
)
# The very first and the very last moment of Python are missing: the official client stores them as infinity.
HURTFUL: dict[str, tuple[Any, ...]] = {
    "i64": (2**63 - 1, -(2**63), 0, -1, 2**53 + 1, GLOBAL_ID_OFFSET + 7),
    "i32": (2**31 - 1, -(2**31), 0, -1),
    "i16": (2**15 - 1, -(2**15), 0, -1),
    "f64": (
        math.nan,
        math.inf,
        -math.inf,
        0.1,
        1 / 3,
        1.7976931348623157e308,
        2.2250738585072014e-308,
        -0.0,
        123456789.123456789,
        1e22,
        100.0,
    ),
    "f32": (math.nan, math.inf, -math.inf, 0.1, 3.4028235e38, 1.17549435e-38, 16777216.0, -2.5),
    "bool": (),
    "ts": (
        datetime(1, 1, 1, 0, 0, 0, 1000),
        datetime(9999, 12, 31, 23, 59, 59, 999000),
        datetime(1969, 12, 31, 23, 59, 59, 123456),
        datetime(2024, 2, 29, 12, 0, 0),
        datetime(2016, 12, 31, 23, 59, 59, 1),
        datetime(1900, 1, 1, 0, 0, 0, 500000),
    ),
    "date": (date(1, 1, 2), date(9999, 12, 30), date(1970, 1, 1), date(2024, 2, 29)),
    "time": (time(0, 0), time(23, 59, 59, 999000)),
    "uuid": (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)),
    "ip": ("192.0.2.1", "2001:db8::1", "255.255.255.255", "::1"),
    "json": (
        {},
        {"empty": "", "null_inside": None, "list": [], "object": {}},
        {"text": 'tab\t newline\n back\\slash quote" slash/ \\N', "unicode": "😀 漢字 \u00e9"},
        {"nested": {"deeper": [{"deepest": [1, 2.5, -0.1, True, False, None, "x"]}]}},
        {"numbers": [0, -1, 2**53 + 1, 2**63 - 1, 1e-7, 0.1, 12345.678]},
        {'key with "quotes" and \\': {"\t": "\n"}, "": "empty key"},
    ),
}
_SENTENCE = "course quiz essay grade rubric module lecture review outcome seminar chapter project reading lab homework"
_WORDS = tuple(_SENTENCE.split())
_EPOCH = datetime(2015, 1, 1)


def column_value(seed: int, table: str, column: Column, number: int) -> Any:
    """The `number`-th of a column's values. The first ones are the nasty ones of its type.

    :returns: None, int, float, bool, str, Decimal, datetime (UTC, without zone), date, time, UUID, dict or list.
    """
    if column.nullable:
        if number % 6 == 4:
            return None
        number -= (number + 1) // 6
    chance = random.Random(f"{seed}/{table}/{column.name}/{column.lineage}/{column.type.notation()}/{number}")
    if column.type.array:
        return _array(column.type, chance, number)
    return _scalar(column.type, chance, number)


def _array(column_type: ColumnType, chance: random.Random, number: int) -> list[Any]:
    if number % 5 == 0:
        return []
    return [_scalar(column_type, chance, chance.randrange(40)) for _ in range(chance.randint(1, 4))]


def _scalar(column_type: ColumnType, chance: random.Random, number: int) -> Any:  # noqa: C901, a table of types
    kind = column_type.kind
    if kind == "enum":
        return column_type.values[number % len(column_type.values)]
    if kind == "openenum":
        values = (*column_type.values, "", "a text that is no value", f"{_words(chance, 2)} {chance.randrange(100)}")
        return values[number % len(values)]
    if kind in ("text", "string"):
        return _text(column_type, chance, number)
    if kind == "numeric":
        return _numeric(column_type, chance, number)
    hurtful = HURTFUL["json" if kind in ("open", "loose") else kind]
    if number < len(hurtful):
        return hurtful[number]
    match kind:
        case "i64":
            return chance.choice((chance.randrange(1, 10**6), GLOBAL_ID_OFFSET + chance.randrange(10**9)))
        case "i32":
            return chance.randrange(0, 10**6)
        case "i16":
            return chance.randrange(0, 1000)
        case "f64":
            return chance.choice((chance.random() * 100, round(chance.random() * 100, 2), float(chance.randrange(101))))
        case "f32":
            return chance.randrange(-4096, 4096) / 8
        case "bool":
            return chance.random() < 0.5
        case "ts":
            moment = _EPOCH + timedelta(seconds=chance.randrange(12 * 365 * 86400))
            fraction = chance.choice((0, chance.randrange(1000) * 1000, chance.randrange(10**6)))
            return moment.replace(microsecond=fraction)
        case "date":
            return (_EPOCH + timedelta(days=chance.randrange(12 * 365))).date()
        case "time":
            return time(chance.randrange(24), chance.randrange(60), chance.randrange(60))
        case "uuid":
            return uuid.UUID(int=chance.getrandbits(128), version=4)
        case "ip":
            return f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        case _:
            return {
                "id": chance.randrange(10**6),
                "title": _words(chance, 3),
                "points": chance.randrange(1000) / 8,
                "tags": [chance.choice(_WORDS) for _ in range(chance.randrange(3))],
                "options": {"shuffle": chance.random() < 0.5, "limit": chance.choice((None, 10, 60))},
            }


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(count))


def _text(column_type: ColumnType, chance: random.Random, number: int) -> str:
    if number < len(HURTFUL_TEXTS):
        text = HURTFUL_TEXTS[number]
    elif column_type.kind == "string" and number % 17 == 0:
        text = "x" * column_type.size
    else:
        text = f"{_words(chance, chance.randint(1, 4))} {chance.randrange(10**6)}"
        if column_type.kind == "text" and number % 3 == 0:
            text = f"<p>{text}</p>\n<ul><li>{_words(chance, 12)}</li></ul>"
    return text[: column_type.size] if column_type.kind == "string" else text


def _numeric(column_type: ColumnType, chance: random.Random, number: int) -> Decimal:
    limit = 10**column_type.precision - 1
    unscaled = (limit, -limit, 0, 1, -1, 50)[number] if number < 6 else chance.randrange(limit)
    return Decimal(unscaled).scaleb(-column_type.scale)


def key_values(keys: tuple[Column, ...], row: int) -> tuple[Any, ...]:
    """The key of a row: rises with the row's number in the order PostgreSQL sorts it (text by collation "C")."""
    if len(keys) == 1:
        return (_key_value(keys[0].type, row, alone=True),)
    parts = []
    rest = row
    for _ in keys[1:]:
        rest, part = divmod(rest, 4)
        parts.append(part)
    parts = [rest, *reversed(parts)]
    return tuple(_key_value(column.type, part) for column, part in zip(keys, parts, strict=True))


def _key_value(column_type: ColumnType, part: int, *, alone: bool = False) -> Any:
    match column_type.kind:
        case "i64" if alone:
            return part + 1 if part < 7 else GLOBAL_ID_OFFSET + part + 1
        case "uuid":
            return uuid.UUID(int=(part + 1) << 88 | (part * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 88))
        case "string":
            return f"K-{part:09d}"
        case "date":
            return date(2020, 1, 1) + timedelta(days=part)
        case _:
            return part + 1
