"""A server in front of PostgreSQL that answers some connections itself, as Aurora does, and forwards the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tests.replication.relay import SSL_REQUEST, forward, listening


def error_response(sqlstate: str, text: str, source: str = "postinit.c") -> bytes:
    """The message that ends a connection.

    :param source: the file of PostgreSQL that raised it; empty: a pooler did.
    """
    said = ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", sqlstate), (b"M", text), (b"F", source))
    fields = b"".join(code + value.encode() + b"\0" for code, value in said if value)
    return b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0"


@contextmanager
def front(backend_port: int, *answers: bytes | None) -> Iterator[tuple[int, list[str]]]:
    """A port whose first connections get these answers and are closed; and what became of each connection.

    :param answers: one for each connection; None: closed without a word. When they are used up, all are forwarded.
    """
    waiting = list(answers)
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = await reader.readexactly(4)
        first = length + await reader.readexactly(int.from_bytes(length, "big") - 4)
        if first == SSL_REQUEST:
            writer.write(b"N")
            length = await reader.readexactly(4)
            first = length + await reader.readexactly(int.from_bytes(length, "big") - 4)
        if waiting:
            seen.append("answered")
            if answer := waiting.pop(0):
                writer.write(answer)
                await writer.drain()
            writer.close()
            return
        seen.append("forwarded")
        await forward(reader, writer, backend_port, first)

    with listening(handle) as port:
        yield port, seen
