"""The simulator behind TLS, as DAP is: addresses in its answers begin with https, too."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import trustme
from aiohttp import web

from tests.replication.waiting import WAIT_S


@contextmanager
def https_front(
    certificate: trustme.LeafCert, backend: str, objects: str | None = None
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """A port that speaks HTTPS, and the host and the path of each request that came in.

    :param backend: the address to which requests are forwarded.
    :param objects: the host of signed URLs; None: that of the call that asks for them.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    seen: list[tuple[str, str]] = []
    loop = asyncio.new_event_loop()

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.url.host or "", request.path))
        headers = {name: value for name, value in request.headers.items() if name != "Accept-Encoding"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as client,
            client.request(
                request.method, f"{backend}{request.raw_path}", headers=headers, data=await request.read()
            ) as answer,
        ):
            body = await answer.read()
            if answer.content_type == "application/json":
                there = f"https://{objects}:{request.url.port}" if objects else f"https://{request.host}"
                body = body.replace(f"http://{request.host}".encode(), there.encode())
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(WAIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
