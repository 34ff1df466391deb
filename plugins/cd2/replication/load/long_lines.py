"""One line that is too long to be held in memory: its pieces -> pieces of what COPY reads.

What `cd2.replication.load.objects` does with blocks of whole lines: fields that are not wanted are left out, and what
PostgreSQL cannot store is replaced. Only a few megabytes are held, however long a value is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection

REPLACEMENT = "\ufffd".encode()
_HIGH_SURROGATE = re.compile(rb"\\\\u[dD][89abAB][0-9a-fA-F]{2}")
_ESCAPE = 7
"""Bytes of an escape sequence in TSV, where each backslash of JSON is doubled."""


def valid_utf8(data: bytes, final: bool) -> tuple[bytes, int, bool]:
    """Replace what is not UTF-8.

    :param final: nothing follows. Otherwise an unfinished character at the end is not used.
    :returns: what is valid, how many bytes were used, and whether something was replaced.
    """
    try:
        _, used = codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError:
        text, used = codecs.utf_8_decode(data, "replace", final)
        return text.encode(), used, True
    return data[:used], used, False


def json_cut(data: bytes) -> int:
    """Where a JSON text in TSV may be cut: neither inside of an escape sequence, nor of a surrogate pair."""
    last = data.rfind(b"\\")
    if last < 0 or last < len(data) - _ESCAPE:
        return len(data)
    first = _first_backslash(data, last)
    if first >= _ESCAPE and _HIGH_SURROGATE.fullmatch(data, first - _ESCAPE, first):
        # The first half of a pair, perhaps.
        last = first - _ESCAPE + 1
        first = _first_backslash(data, last)
    # In a run of backslashes, each four are an escaped one.
    return first + (last + 1 - first) // 4 * 4


def _first_backslash(data: bytes, last: int) -> int:
    """Where the run of backslashes begins that has one at `last`."""
    return len(data[: last + 1].rstrip(b"\\"))


class LongLine:
    """One line, piece by piece.

    :param wanted: positions of the fields that are wanted.
    :param json: positions of the wanted fields that hold JSON.
    :param storable_json: replaces what jsonb cannot store in a JSON text that is cut at `json_cut`.

    `fields` is how many fields there have been so far, `length` how many bytes; `repaired`: whether something was
    replaced.
    """

    def __init__(self, wanted: Collection[int], json: Collection[int], storable_json: Callable[[bytes], bytes]) -> None:
        self._wanted = frozenset(wanted)
        self._json = frozenset(json)
        self._storable_json = storable_json
        self._undecided = self._uncut = b""
        self._begun = False
        self.fields = 1
        self.length = 0
        self.repaired = False

    def feed(self, piece: bytes) -> bytes:
        """What becomes of the next piece of the line; the last one ends with a newline."""
        self.length += len(piece)
        ended = piece.endswith(b"\n")
        first, *others = piece[: -1 if ended else None].split(b"\t")
        parts = [self._part(first, final=bool(others) or ended)]
        for number, field in enumerate(others, 1):
            self.fields += 1
            if self.fields - 1 in self._wanted:
                # Between two that are wanted, not in front of the first.
                parts += [b"\t"] * self._begun
            parts.append(self._part(field, final=number < len(others) or ended))
        return b"".join([*parts, b"\n"] if ended else parts)

    def _part(self, data: bytes, final: bool) -> bytes:
        """A part of the field that we are in.

        :param final: the field ends with it.
        """
        position = self.fields - 1
        if position not in self._wanted:
            return b""
        self._begun = True
        if b"\0" in data:
            data = data.replace(b"\0", REPLACEMENT)
            self.repaired = True
        if self._undecided or not data.isascii():
            data = self._undecided + data
            valid, used, replaced = valid_utf8(data, final)
            self._undecided = data[used:]
            self.repaired = self.repaired or replaced
            data = valid
        if position in self._json:
            data = self._uncut + data
            cut = len(data) if final else json_cut(data)
            self._uncut = data[cut:]
            stored = self._storable_json(data[:cut])
            self.repaired = self.repaired or stored != data[:cut]
            data = stored
        return data
