"""A server in front of PostgreSQL that answers some connections itself, as Aurora does, and forwards the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.replication.tls import SSL_REQUEST
from tests.replication.waiting import WAIT_S


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

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

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
        backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", backend_port)
        backend_writer.write(first)
        await asyncio.gather(pump(reader, backend_writer), pump(backend_reader, writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
