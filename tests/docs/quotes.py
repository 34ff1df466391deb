"""Messages that documents quote: in italics and quotation marks, `*"like this … one"*`."""

from __future__ import annotations

import re

QUOTED = re.compile(r'\*"([^"*]+)"\*')
VARIES = "\N{HORIZONTAL ELLIPSIS}"


def fragments(quote: str) -> list[str]:
    """What of a quoted message does not vary."""
    return [part for part in (" ".join(piece.split()) for piece in quote.split(VARIES)) if part.strip(" .,:;()")]
