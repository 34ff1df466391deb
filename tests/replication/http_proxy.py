"""An HTTP proxy on this machine, and what it was asked for."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.replication.relay import forward
from tests.replication.waiting import WAIT_S


@dataclass
class Proxy:
    """What a proxy was asked for.

    :param requests: method and target of each request.
    :param logins: the logins that it was given.
    """

    port: int
    requests: list[tuple[str, str]] = field(default_factory=list)
    logins: set[str] = field(default_factory=set)


@contextmanager
def proxy(refuse: bytes | None = None) -> Iterator[Proxy]:
    """An HTTP proxy on this machine, which also makes tunnels; it finds every host here.

    :param refuse: the status line of its answer to everything.
    """
    state = Proxy(0)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request, *headers = head.decode().split("\r\n")
        method, target, _ = request.split(" ")
        state.requests.append((method, target))
        for header in headers:
            if header.lower().startswith("proxy-authorization: basic "):
                state.logins.add(base64.b64decode(header.split(" ")[2]).decode())
        if refuse:
            writer.write(b"HTTP/1.1 " + refuse + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()
            return
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await forward(reader, writer, int(target.rpartition(":")[2]), b"")
            return
        there = urlsplit(target)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", there.port)
        path = f"{there.path}?{there.query}" if there.query else there.path
        kept = [header for header in headers if not header.lower().startswith(("proxy-", "connection:"))]
        lines = [f"{method} {path} HTTP/1.1", "Connection: close", *kept]
        there_writer.write("\r\n".join(lines).encode())
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0))
    state.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
