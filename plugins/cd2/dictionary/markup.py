"""Texts of people and of DAP as HTML: escaped, always."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from urllib.parse import quote

from cd2.replication.names import TableName

_CODE = re.compile(r"`([^`\n]+)`")


def escape(text: str) -> str:
    """A text as HTML, also within attributes."""
    return html.escape(text, quote=True)


def prose(text: str) -> str:
    """A comment as HTML: what stands in backticks is code, as DAP means it."""
    return _CODE.sub(r"<code>\1</code>", escape(text.strip()))


def anchor(table: TableName, column: str = "") -> str:
    """The id of a table or column, which is also its address within the file."""
    return quote(f"{table}.{column}" if column else str(table), safe=".")


def moment(at: datetime) -> str:
    """A time, to the minute, in UTC."""
    utc = at.astimezone(UTC)
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{utc:%Y-%m-%d %H:%M}</time>'
