"""A port that forwards what it is sent; what each connection begins with decides how."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tests.replication.waiting import WAIT_S

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend_port: int, first: bytes) -> None:
    """Forward a connection in both directions until one side ends it.

    :param first: what the backend gets first.
    """
    backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", backend_port)
    backend_writer.write(first)
    await asyncio.gather(_pump(reader, backend_writer), _pump(backend_reader, writer))


@contextmanager
def listening(handle: Handler) -> Iterator[int]:
    """A port of this machine whose connections a thread handles."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()
