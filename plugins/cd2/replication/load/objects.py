"""One object: compressed bytes -> checked blocks that COPY can read. Memory stays flat, however long a line is."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.load.long_lines import REPLACEMENT, LongLine

if TYPE_CHECKING:
    from cd2.replication.names import TableName

BLOCK = 1 << 20
"""Decompressed bytes handled at once; a line that is longer is handled in pieces."""
LONGEST_LINE = (1 << 30) - (1 << 20)
"""Bytes: PostgreSQL cannot read a line of 1 GB."""
# Ten times as fast as ^ with MULTILINE, which tries every position.
_NEXT_FIRST_FIELD = re.compile(rb"\n[^\t\n]*\t")
# In TSV each backslash of JSON is doubled. A surrogate pair is one character and stays; so does an escaped backslash.
_JSON_ESCAPE = re.compile(
    rb"\\\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([0-9a-fA-F]{4})|\\\\|[^\\])"
)
_SUSPICIOUS_JSON = re.compile(rb"\\\\u(?:0000|[dD][89a-fA-F])")
# ISO 8601 gives years after 9999 and before 0000 a sign, which PostgreSQL takes for that of a time zone. The year 0000
# is 1 BC.
_FAR_YEAR = re.compile(rb"\t(?:[+-]\d{4,9}|0000)-\d\d-\d\d")
_YEAR = re.compile(rb"([+-]?\d{4,9})(-\d\d-\d\d.*)")


@dataclass
class Tally:
    """What has come over the network so far.

    :param bytes: compressed.
    :param repaired: lines in which a character that PostgreSQL cannot store was replaced by U+FFFD.
    """

    rows: int = 0
    bytes: int = 0
    repaired: int = 0


class ObjectStream:
    """One object of a job.

    :param source: its compressed bytes.
    :param table: for error messages.
    :param tally: counts rows, bytes and repairs of all objects of a job.
    """

    def __init__(self, source: AsyncIterator[bytes], table: TableName, tally: Tally) -> None:
        self._table = table
        self._tally = tally
        self._source = source
        self._blocks = self._in_blocks()
        self._first = b""
        self._lines_before = 0  # as PostgreSQL counts them, without the header
        self._cut = False
        self.columns: tuple[str, ...] = ()
        """Names in the header, as DAP writes them: meta.ts, meta.action, key.*, value.*"""
        self.empty = False
        """Whether there is nothing but the header."""

    async def open(self) -> None:
        """Read the header.

        :raises TransientError: the object is empty, truncated or damaged.
        :raises TableFailure: it does not begin with a header.
        """
        header = b""
        async for block in self._blocks:
            # What does not end with a newline is too long for a header.
            header, _, self._first = block.partition(b"\n") if block.endswith(b"\n") else (b"", b"", b"")
            break
        if not self._first:
            async for block in self._blocks:
                self._first = block
                break
        self.empty = not self._first
        self.columns = tuple(header.decode("utf-8", "replace").split("\t"))
        if self.columns[0] != "meta.ts" or len(set(self.columns)) != len(self.columns):
            raise TableFailure(
                f"{self._table}: an object of the job does not begin with the header that DAP documents: "
                "report this table to Instructure."
            )

    async def close(self) -> None:
        """Stop reading."""
        for generator in (self._blocks, self._source):
            if (close := getattr(generator, "aclose", None)) is not None:
                await close()

    async def rows(
        self, wanted: Sequence[str], json: Collection[str], times: Collection[str] = ()
    ) -> AsyncIterator[bytes]:
        """Blocks of lines with the wanted columns of the header, in the header's order; long lines come in pieces.

        :param wanted: a subsequence of `columns`.
        :param json: the wanted columns that hold JSON.
        :param times: the wanted columns that hold dates or times of a date.
        :raises TransientError: the object is truncated or damaged.
        :raises TableFailure: a line has another number of fields than the header, or is longer than PostgreSQL reads.
        """
        positions = [self.columns.index(name) for name in wanted]
        json_positions = [self.columns.index(name) for name in json]
        time_positions = [self.columns.index(name) for name in times]
        everything = len(positions) == len(self.columns)
        # PostgreSQL counts the fields of a line, but for a single column it takes whatever there is.
        all_but_first = positions == list(range(1, len(self.columns))) and len(positions) > 1
        long_line: LongLine | None = None
        async for block in self._lines():
            if long_line or not block.endswith(b"\n"):
                long_line = long_line or LongLine(positions, json_positions, _storable_json)
                yield long_line.feed(block)
                if block.endswith(b"\n") or long_line.length > LONGEST_LINE:
                    self._check_long(long_line)
                    long_line = None
                continue
            lines = block.count(b"\n")
            block = self._storable(block, json_positions)
            if time_positions and _FAR_YEAR.search(block):
                block = b"\n".join(_with_years(line, time_positions) for line in block.split(b"\n"))
            if all_but_first:
                block = _NEXT_FIRST_FIELD.sub(b"\n", block[block.find(b"\t") + 1 :])
            elif not everything:
                block = self._projected(block, positions)
            self._count(lines)
            yield block

    def _count(self, lines: int) -> None:
        self._tally.rows += lines
        self._lines_before += lines

    def _check_long(self, line: LongLine) -> None:
        if line.length > LONGEST_LINE:
            raise TableFailure(
                f"{self._table}: line {self._lines_before + 1} of an object is longer than 1 GB, which PostgreSQL "
                "cannot read: shorten the value in Canvas, or skip this table ([cd2] skip_tables).",
                type="54000",
            )
        if line.fields != len(self.columns):
            raise self._damaged("its last line is truncated") if self._cut else self._ragged(0, line.fields)
        self._tally.repaired += line.repaired
        self._count(1)

    def _ragged(self, line: int, fields: int) -> TableFailure:
        """A line with another number of fields than the header.

        :param line: its number in the block, from 0.
        """
        return TableFailure(
            f"{self._table}: line {self._lines_before + line + 1} of an object has {fields} fields, but its header has "
            f"{len(self.columns)}: report this table to Instructure.",
            type="22P04",
        )

    def _projected(self, block: bytes, positions: list[int]) -> bytes:
        lines = []
        for number, line in enumerate(block.split(b"\n")[:-1]):
            fields = line.split(b"\t")
            if len(fields) != len(self.columns):
                raise self._ragged(number, len(fields))
            lines.append(b"\t".join([fields[position] for position in positions]))
        return b"\n".join(lines) + b"\n" if lines else b""

    async def _lines(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
            self._first = b""
        async for block in self._blocks:
            yield block

    async def _in_blocks(self) -> AsyncIterator[bytes]:
        """Blocks of whole lines; a line that is longer than a block comes in pieces.

        A block that does not end with a newline is such a piece. The last one ends with it, and holds nothing else.
        """
        pending = b""
        long = False
        async for data in self._decompressed():
            if long:
                end = data.find(b"\n") + 1
                yield data[:end] if end else data
                if not end:
                    continue
                data = data[end:]
                long = False
            end = data.rfind(b"\n") + 1
            if end:
                yield pending + data[:end]
                pending = data[end:]
            else:
                pending += data
            if len(pending) > BLOCK:
                yield pending
                pending = b""
                long = True
        if pending or long:
            # The checksum proves that the file is complete, but it may have been cut before it was compressed.
            self._cut = True
            if not long and self.columns and pending.count(b"\t") != len(self.columns) - 1:
                raise self._damaged("its last line is truncated")
            yield pending + b"\n"

    async def _decompressed(self) -> AsyncIterator[bytes]:
        decompressor = zlib.decompressobj(wbits=31)
        received = False
        try:
            async for data in self._source:
                self._tally.bytes += len(data)
                received = True
                while data:
                    if decompressor.eof:
                        # A gzip file may consist of several members.
                        decompressor = zlib.decompressobj(wbits=31)
                    block = decompressor.decompress(data, BLOCK)
                    data = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
                    if block:
                        yield block
        except zlib.error as error:
            raise self._damaged("it is not gzip" if "header" in str(error) else "its checksum is wrong") from None
        while not decompressor.eof and (block := decompressor.decompress(b"", BLOCK)):
            yield block
        if not decompressor.eof:
            raise self._damaged("it is truncated" if received else "it is empty")

    def _damaged(self, how: str) -> TransientError:
        return TransientError(
            f"{self._table}: an object of the job is damaged ({how}); nothing of it was kept. It will be retried.",
            type="DamagedObject",
        )

    def _storable(self, block: bytes, json_positions: list[int]) -> bytes:
        """Replace what PostgreSQL cannot store: NUL characters and bytes that are not UTF-8.

        Otherwise one such character would block its table forever.
        """
        if b"\0" in block:
            self._tally.repaired += sum(b"\0" in line for line in block.split(b"\n"))
            block = block.replace(b"\0", REPLACEMENT)
        if not block.isascii():
            try:
                block.decode()
            except UnicodeDecodeError:
                block = b"\n".join(self._as_utf8(line) for line in block.split(b"\n"))
        if json_positions and _SUSPICIOUS_JSON.search(block):
            block = b"\n".join(self._with_storable_json(line, json_positions) for line in block.split(b"\n"))
        return block

    def _as_utf8(self, line: bytes) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            self._tally.repaired += 1
            return line.decode("utf-8", "replace").encode()
        return line

    def _with_storable_json(self, line: bytes, positions: list[int]) -> bytes:
        if not _SUSPICIOUS_JSON.search(line):
            return line
        fields = line.split(b"\t")
        for position in positions:
            if position < len(fields):
                fields[position] = _storable_json(fields[position])
        repaired = b"\t".join(fields)
        self._tally.repaired += repaired != line
        return repaired


def _with_years(line: bytes, positions: list[int]) -> bytes:
    """A line with the years of its dates as PostgreSQL reads them; what is none stays."""
    fields = line.split(b"\t")
    for position in positions:
        if position < len(fields) and (match := _YEAR.fullmatch(fields[position])):
            year = int(match[1])
            fields[position] = b"%04d%s%s" % (year if year > 0 else 1 - year, match[2], b"" if year > 0 else b" BC")
    return b"\t".join(fields)


def _storable_json(text: bytes) -> bytes:
    """A JSON text without what jsonb cannot hold."""
    return _JSON_ESCAPE.sub(_storable_escape, text) if _SUSPICIOUS_JSON.search(text) else text


def _storable_escape(match: re.Match[bytes]) -> bytes:
    r"""`\u0000` and half a surrogate pair have no place in jsonb."""
    code = match[1]
    if code is None or (code != b"0000" and not 0xD800 <= int(code, 16) <= 0xDFFF):
        return match[0]
    return rb"\\ufffd"
