"""Serves the files of the page, and registers it in Airflow's navigation.

Airflow does not authenticate the apps of plugins: whatever this serves, anybody who reaches the web server may read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"
URL_PREFIX = "/canvas-data"
HREF = f".{URL_PREFIX}/"
"""Relative to Airflow's base address, which may have a path."""
HEADERS = {
    # a new version counts at once; unchanged files answer 304
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "frame-ancestors 'self'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Page:
    """An ASGI app for the static files.

    It imports Starlette when it first serves: every component and task of Airflow loads the plugin, only one serves it.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._files: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._files is None:
            from starlette.staticfiles import StaticFiles

            self._files = StaticFiles(directory=self._folder, html=True)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        await self._files(scope, receive, send_with_headers)


FASTAPI_APPS: list[dict[str, Any]] = [{"app": Page(), "url_prefix": URL_PREFIX, "name": "Canvas Data"}]
EXTERNAL_VIEWS: list[dict[str, Any]] = [
    {
        "name": "Canvas Data",
        "href": HREF,
        "destination": "nav",
        "url_route": "canvas-data",
        "nav_top_level": True,
        "icon": f"{HREF}icon.svg",
        "icon_dark_mode": f"{HREF}icon-dark.svg",
    },
    {
        # Airflow offers it on every DAG; the page says so on others than ours.
        "name": "Canvas Data",
        "href": f"{HREF}?dag={{DAG_ID}}",
        "destination": "dag",
        "url_route": "canvas-data-dag",
        "icon": f"{HREF}icon.svg",
        "icon_dark_mode": f"{HREF}icon-dark.svg",
    },
]
