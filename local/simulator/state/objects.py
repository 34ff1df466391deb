"""Objects of finished jobs: gzip files under the state directory, written as a stream."""

import secrets
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local.simulator.data.columns import Column
from local.simulator.data.rows import RowStream, Selection


class Cancelled(Exception):
    """The simulator is stopping; the next start generates the job again."""


LARGE = "A large value: Grüße, \N{GRINNING FACE} and so on. ".encode()
"""What large values are made of."""


@dataclass(frozen=True)
class RowFault:
    """A fault in the data itself, at the `row`-th line (0: the first) of the first object.

    :param column: the column to spoil; None: the first value column that fits.
    :param every: of losses and alterations: every how many lines.
    :param megabytes: how large a large value is.
    :param older: the repeated row is an older version, with another value, and comes last.
    """

    kind: str
    row: int = 0
    column: str | None = None
    every: int = 5
    megabytes: int = 2
    older: bool = False

    def spoil(self, lines: list[bytes], columns: tuple[Column, ...], first_field: int, separator: bytes) -> None:
        """Change the lines in place."""
        if not lines:
            return
        if self.kind.startswith("lost_"):
            del lines[:: self.every]
            return
        if self.kind.startswith("altered_"):
            self._alter(lines, columns, first_field, separator)
            return
        index = min(self.row, len(lines) - 1)
        if self.kind == "duplicate_key":
            lines.insert(index, lines[index])
            if self.older:
                self._make_older(lines, index + 1, columns, first_field, separator)
            return
        if self.kind == "ragged_line":
            lines[index] += separator + b"one field more"
            return
        texts = ("nul_byte", "invalid_utf8", "large_value")
        kinds = ("text", "string") if self.kind in texts else ("ts", "i64", "i32", "f64", "date")
        for position, column in enumerate(columns):
            wanted = column.name == self.column if self.column else not column.key and column.type.kind in kinds
            if wanted and not column.type.array:
                fields = lines[index].split(separator)
                if self.kind == "large_value":
                    fields[first_field + position] = LARGE * (self.megabytes * 1_000_000 // len(LARGE))
                    lines[index] = separator.join(fields)
                    return
                spoilt = {"nul_byte": b"nul \x00 byte", "invalid_utf8": b"not utf-8 \xff\xfe"}
                fields[first_field + position] = spoilt.get(self.kind, b"not-a-value")
                lines[index] = separator.join(fields)
                return

    def _make_older(
        self, lines: list[bytes], index: int, columns: tuple[Column, ...], first_field: int, separator: bytes
    ) -> None:
        position, column = self._alterable(columns)
        fields = lines[index].split(separator)
        fields[0] = b"2001-02-03T04:05:06.000Z"
        fields[first_field + position] = _ALTERABLE[column.type.kind]
        lines[index] = separator.join(fields)

    def _alterable(self, columns: tuple[Column, ...]) -> tuple[int, Column]:
        return next(
            (place, column)
            for place, column in enumerate(columns)
            if (column.name == self.column if self.column else not column.key and column.type.kind in _ALTERABLE)
        )

    def _alter(self, lines: list[bytes], columns: tuple[Column, ...], first_field: int, separator: bytes) -> None:
        """Give every n-th row another value that its column can hold."""
        position, column = self._alterable(columns)
        for index in range(0, len(lines), self.every):
            fields = lines[index].split(separator)
            # Of a deleted row there is only its key.
            if first_field < 2 or fields[1] != b"D":
                fields[first_field + position] = _ALTERABLE[column.type.kind]
                lines[index] = separator.join(fields)


_ALTERABLE = {
    "text": b"altered",
    "string": b"altered",
    "i64": b"4242",
    "i32": b"4242",
    "f64": b"0.4242",
    "json": b'{"altered": true}',
    "open": b'{"altered": true}',
    "numeric": b"0",
    "ts": b"2001-02-03T04:05:06Z",
}


class _GzipFile:
    def __init__(self, path: Path, header: bytes) -> None:
        self.path = path
        self._file = path.open("wb")
        self._compressor = zlib.compressobj(1, wbits=31)
        self.rows = 0
        self._write(header)

    def _write(self, data: bytes) -> None:
        self._file.write(self._compressor.compress(data))

    def add(self, lines: list[bytes]) -> None:
        self._write(b"\n".join(lines) + b"\n")
        self.rows += len(lines)

    def close(self) -> None:
        self._file.write(self._compressor.flush())
        self._file.close()


def write_objects(
    directory: Path,
    stream: RowStream,
    selection: Selection,
    rows_per_object: int,
    stop: threading.Event,
    faults: Iterable[RowFault] = (),
    keep_empty: bool = True,
) -> list[str]:
    """Write the rows as gzip objects of at most `rows_per_object` rows.

    :param keep_empty: without any rows, write one object with a header only.

    :returns: the names of the files.
    :raises Cancelled: `stop` was set.
    """
    directory.mkdir(parents=True, exist_ok=True)
    first_field = 2 if selection.incremental else 1
    header = stream.header(selection)
    pending = list(faults)
    names: list[str] = []
    current: _GzipFile | None = None

    def opened() -> _GzipFile:
        name = f"part-{len(names):05d}-{secrets.token_hex(4)}.tsv.gz"
        names.append(name)
        return _GzipFile(directory / name, header)

    try:
        if keep_empty:
            current = opened()
        for chunk in stream.chunks(selection):
            if stop.is_set():
                raise Cancelled
            lines = chunk.lines
            for fault in pending:
                fault.spoil(lines, (*stream.keys, *stream.values), first_field, stream.encoder.separator)
            pending = []
            while lines:
                if current is None or current.rows >= rows_per_object:
                    if current is not None:
                        current.close()
                    current = opened()
                room = rows_per_object - current.rows
                current.add(lines[:room])
                lines = lines[room:]
    finally:
        if current is not None:
            current.close()
    return names


def truncated(path: Path, after_line: bool) -> bytes:
    """The beginning of an object, as if the connection had been cut.

    :param after_line: cut exactly after a line, where only the missing end of the gzip stream tells.
    """
    decompressor = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        text = decompressor.decompress(file.read(1 << 20), 8 << 20)
    ends = [position for position, byte in enumerate(text) if byte == 0x0A]
    if not ends:
        cut = len(text) // 2
    else:
        # At least the header stays, at least one row goes.
        cut = ends[min(len(ends) // 2, max(len(ends) - 2, 0))] + 1
        if not after_line:
            following = next((end for end in ends if end >= cut), len(text))
            cut += max(1, (following - cut) // 2)
    compressor = zlib.compressobj(1, wbits=31)
    return compressor.compress(text[:cut]) + compressor.flush(zlib.Z_SYNC_FLUSH)


def corrupted(path: Path) -> bytes:
    """An object whose checksum is wrong (its last eight bytes are the CRC and the length)."""
    data = bytearray(path.read_bytes())
    data[-8] ^= 0xFF
    return bytes(data)
