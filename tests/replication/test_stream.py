"""Objects become blocks of whole lines; what is cut short, damaged or not storable is noticed."""

import asyncio
import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest

from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.load import objects
from cd2.replication.load.objects import BLOCK, ObjectStream, Tally
from cd2.replication.names import TableName

HEADER = b"meta.ts\tkey.id\tvalue.name\tvalue.doc\n"


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(
    compressed: bytes,
    size: int = 7,
    wanted: tuple[str, ...] = ("key.id", "value.name", "value.doc"),
    json_columns: tuple[str, ...] = ("value.doc",),
) -> tuple[bytes, Tally]:
    tally = Tally()

    async def run() -> bytes:
        stream = ObjectStream(pieces(compressed, size), TableName("canvas", "things"), tally)
        await stream.open()
        return b"".join([block async for block in stream.rows(wanted, json_columns)])

    return asyncio.run(run()), tally


def test_the_header_and_the_time_stamps_are_left_out() -> None:
    rows, tally = read(gzip.compress(HEADER + b"2026Z\t1\tA\t{}\n2026-01Z\t2\t\\N\t\\N\n"))
    assert rows == b"1\tA\t{}\n2\t\\N\t\\N\n"
    assert tally.rows == 2
    assert tally.bytes > 0


def test_columns_that_are_not_wanted_are_left_out_wherever_they_are() -> None:
    rows, _ = read(gzip.compress(HEADER + b"t\t1\tA\t{}\nt\t2\tB\t[]\n"), wanted=("key.id", "value.doc"))
    assert rows == b"1\t{}\n2\t[]\n"


def test_several_gzip_members_are_one_object() -> None:
    rows, tally = read(gzip.compress(HEADER + b"t\t1\tA") + gzip.compress(b"B\t{}\nt\t2\tC\t{}\n"), size=1000)
    assert rows == b"1\tAB\t{}\n2\tC\t{}\n"
    assert tally.rows == 2


def test_a_header_alone_is_no_row() -> None:
    assert read(gzip.compress(HEADER))[0] == b""


def test_a_last_line_without_its_end_is_complete_if_it_has_all_fields() -> None:
    assert read(gzip.compress(HEADER + b"t\t1\tA\t{}"))[0] == b"1\tA\t{}\n"


def test_a_last_line_with_too_few_fields_is_noticed() -> None:
    with pytest.raises(TransientError, match="last line is truncated"):
        read(gzip.compress(HEADER + b"t\t1\tA\t{}\nt\t2\tB"))


@pytest.mark.parametrize("lost", [1, 8, 9, 20])
def test_an_object_without_its_end_is_noticed(lost: int) -> None:
    with pytest.raises(TransientError, match=r"truncated"):
        read(gzip.compress(HEADER + b"t\t1\tA\t{}\n")[:-lost])


def test_an_object_cut_exactly_after_a_line_is_noticed() -> None:
    """The official client takes it for complete, and moves its cursor."""
    compressor = zlib.compressobj(wbits=31)
    whole_lines = compressor.compress(HEADER + b"t\t1\tA\t{}\n") + compressor.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(TransientError, match="truncated"):
        read(whole_lines)


def test_a_wrong_check_sum_is_noticed() -> None:
    damaged = bytearray(gzip.compress(HEADER + b"t\t1\tA\t{}\n"))
    damaged[-8] ^= 1
    with pytest.raises(TransientError, match="checksum is wrong"):
        read(bytes(damaged))


def test_what_is_not_gzip_or_empty_is_noticed() -> None:
    with pytest.raises(TransientError, match="not gzip"):
        read(HEADER)
    with pytest.raises(TransientError, match="it is empty"):
        read(b"")


def test_an_object_without_the_header_is_refused() -> None:
    with pytest.raises(TableFailure, match="does not begin with the header"):
        read(gzip.compress(b"t\t1\tA\t{}\n"))


def test_nul_and_bytes_that_are_not_utf8_are_replaced_and_counted() -> None:
    rows, tally = read(gzip.compress(HEADER + b"t\t1\tA\0B\t{}\nt\t2\tC\xff\xfeD\t{}\nt\t3\t\xc3\xa9\t{}\n"))
    assert rows.decode() == "1\tA\ufffdB\t{}\n2\tC\ufffd\ufffdD\t{}\n3\té\t{}\n"
    assert tally.repaired == 2


def test_escapes_that_jsonb_cannot_hold_are_replaced_in_json_only() -> None:
    document = {"nul": "a\0b", "half": "\ud83d!", "whole": "\U0001f600", "text": "\\u0000", "quote": '"\\'}
    tsv = json.dumps(document).replace("\\", "\\\\").encode()
    rows, tally = read(gzip.compress(HEADER + b"t\t1\tliteral \\\\u0000\t" + tsv + b"\n"))
    _, name, stored = rows.rstrip(b"\n").split(b"\t")
    assert name == b"literal \\\\u0000"
    assert json.loads(stored.replace(b"\\\\", b"\\")) == document | {"nul": "a\ufffdb", "half": "\ufffd!"}
    assert tally.repaired == 1


def test_a_line_longer_than_a_block_stays_whole() -> None:
    long = b"x" * (3 * BLOCK + 17)
    rows, _ = read(gzip.compress(HEADER + b"t\t1\t" + long + b"\t{}\nt\t2\tB\t{}\n"), size=1 << 16)
    assert rows == b"1\t" + long + b"\t{}\n2\tB\t{}\n"


# -- lines that are longer than a block ------------------------------------------------------------

PARTS = [
    b"text ",
    b"a\0b",
    "Gr\u00fc\u00dfe \U0001f600 ".encode(),
    b"\xff\xfe \xc3",
    b"\\N",
    b"\\n",
    b"\\\\",
    b"\\\\\\\\",
    b"\\\\u0000",
    b"\\\\ud83d",
    b"\\\\uDE00",
    b"\\\\ud83d\\\\ude00",
    b"\\\\\\\\u0000",
    b"\\\\t",
    b"u0000",
]
"""Values are made of these: what is replaced, what is not, and what looks like either."""


@pytest.mark.parametrize("seed", range(30))
def test_a_long_line_becomes_what_a_short_one_becomes_wherever_it_is_cut(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)

    def value() -> bytes:
        return b"".join(chance.choices(PARTS, k=chance.randrange(12)))

    lines = [b"\t".join([b"t", b"%d" % number, value(), value()]) for number in range(40)]
    compressed = gzip.compress(HEADER + b"\n".join(lines) + b"\n"[: chance.randrange(2)])
    wanted = chance.choice([("key.id", "value.name", "value.doc"), ("key.id", "value.doc"), ("value.name",)])
    wanted = chance.choice([wanted, ("meta.ts", "key.id", "value.name", "value.doc")])
    documents = tuple(name for name in wanted if name == "value.doc")
    whole, tally = read(compressed, wanted=wanted, json_columns=documents)
    monkeypatch.setattr(objects, "BLOCK", max(len(HEADER), chance.randrange(1, 90)))
    pieces, same_tally = read(compressed, wanted=wanted, json_columns=documents)
    assert pieces == whole
    assert same_tally.rows == tally.rows == len(lines)
    assert (same_tally.repaired > 0) == (tally.repaired > 0)


def test_a_long_line_with_too_few_fields_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK", len(HEADER))
    long = b"x" * 500
    with pytest.raises(TransientError, match="last line is truncated"):
        read(gzip.compress(HEADER + b"t\t1\t" + long))
    with pytest.raises(TableFailure, match="line 2 of an object has 3 fields, but its header has 4"):
        read(gzip.compress(HEADER + b"t\t1\tA\t{}\nt\t2\t" + long + b"\n"))


def test_a_line_with_too_many_fields_is_noticed_where_columns_are_left_out() -> None:
    with pytest.raises(TableFailure, match="line 2 of an object has 5 fields, but its header has 4"):
        read(gzip.compress(HEADER + b"t\t1\tA\t{}\nt\t2\tB\t{}\tC\n"), wanted=("key.id", "value.doc"))


def test_a_line_that_postgresql_cannot_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK", len(HEADER))
    monkeypatch.setattr(objects, "LONGEST_LINE", 1000)
    with pytest.raises(TableFailure, match=r"line 2 of an object is longer than 1 GB.*skip_tables"):
        read(gzip.compress(HEADER + b"t\t1\tA\t{}\nt\t2\t" + b"x" * 5000 + b"\t{}\n"))


def test_a_header_that_does_not_end_is_refused() -> None:
    with pytest.raises(TableFailure, match="does not begin with the header"):
        read(gzip.compress(b"meta.ts\t" + b"x" * 3 * BLOCK))


# -- memory ----------------------------------------------------------------------------------------

COLUMNS = ("key.id", "value.name", "value.doc")


def peak(lines: bytes) -> int:
    """Bytes that reading these lines takes at most."""
    compressed = gzip.compress(HEADER + lines, 1)

    async def run() -> int:
        stream = ObjectStream(pieces(compressed, 1 << 18), TableName("canvas", "things"), Tally())
        await stream.open()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        async for _ in stream.rows(COLUMNS, ("value.doc",)):
            pass
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        return asyncio.run(run())
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_object() -> None:
    line = b"2026-01-01T00:00:00Z\t1\tname of a thing\t{}\n"
    assert peak(line * 150_000) < 1.5 * peak(line * 50_000) < 20 * BLOCK


@pytest.mark.parametrize("value", [b"plain text ", "\U0001f600 ".encode(), b"\xff\0", b"\\\\", b"\\\\ud83d"])
@pytest.mark.parametrize("line", [b"t\t1\t%b\t{}\n", b"t\t1\tA\t%b\n"], ids=["text", "JSON"])
def test_memory_does_not_grow_with_a_value(line: bytes, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    block = 1 << 14
    monkeypatch.setattr(objects, "BLOCK", block)
    assert peak(line % (value * (100 * block // len(value)))) < 40 * block
