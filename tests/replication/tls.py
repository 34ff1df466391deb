"""TLS in front of a PostgreSQL that was built without it: a proxy that answers the SSLRequest as a server does."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trustme

from tests.replication.waiting import WAIT_S

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


@contextmanager
def tls_proxy(certificate: trustme.LeafCert, backend_port: int) -> Iterator[tuple[int, list[str]]]:
    """A port that speaks PostgreSQL over TLS (or in the clear), and a list of how each connection came in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    seen: list[str] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", backend_port)
        if first == SSL_REQUEST:
            writer.write(b"S")
            await writer.drain()
            try:
                await writer.start_tls(context)
            except (ssl.SSLError, ConnectionError):
                seen.append("refused")
                backend_writer.close()
                return
            seen.append("tls")
        else:
            seen.append("clear")
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
