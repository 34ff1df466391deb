"""TLS in front of a PostgreSQL that was built without it: a proxy that answers the SSLRequest as a server does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import trustme

from tests.replication.relay import SSL_REQUEST, forward, listening


@contextmanager
def tls_proxy(certificate: trustme.LeafCert, backend_port: int) -> Iterator[tuple[int, list[str]]]:
    """A port that speaks PostgreSQL over TLS (or in the clear), and a list of how each connection came in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first == SSL_REQUEST:
            writer.write(b"S")
            await writer.drain()
            try:
                await writer.start_tls(context)
            except (ssl.SSLError, ConnectionError):
                seen.append("refused")
                return
            first = b""
        seen.append("clear" if first else "tls")
        await forward(reader, writer, backend_port, first)

    with listening(handle) as port:
        yield port, seen
