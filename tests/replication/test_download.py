"""The download of an object goes on where it stopped, as long as it gets any further."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Callable

import pytest
from dap.dap_types import URL, Object, Resource
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from cd2.replication.dap import session
from cd2.replication.dap.pacing import Pacer
from cd2.replication.dap.session import DOWNLOAD_TRIES, DapCredentials, DapSession
from cd2.replication.database.connection import DatabaseTarget, Replica
from cd2.replication.errors import TransientError

DATA = bytes(range(256)) * 4096
"""A megabyte, of which every part is unlike the next."""
NOWHERE = DatabaseTarget("127.0.0.1", 1, "none", "none", "none", "disable", "")


class Session(DapSession):
    """Hands out the address of a test's server, with another signature each time."""

    def __init__(self, address: str) -> None:
        super().__init__(DapCredentials(address, "id", "secret"), Pacer(Replica(NOWHERE), "id", {}))
        self._address = address
        self._numbers = itertools.count(1)

    async def get_resources(self, objects: list[Object]) -> dict[str, Resource]:
        return {part.id: Resource(URL(f"{self._address}?signature=s{next(self._numbers)}")) for part in objects}


def download(server: HTTPServer, answer: Callable[[Request, int], Response]) -> bytes:
    """What arrives of an object whose server answers so, from the byte at which it was asked to begin."""

    def handle(request: Request) -> Response:
        given = request.headers.get("Range", "bytes=0-")
        return answer(request, int(given.removeprefix("bytes=").removesuffix("-")))

    server.expect_request(re.compile(".*")).respond_with_handler(handle)

    async def work() -> bytes:
        async with Session(server.url_for("/object")) as opened:
            return b"".join([block async for block in opened.download("an-object")])

    return asyncio.run(work())


def cut(start: int, end: int, status: int = 206) -> Response:
    """The bytes from `start`, of which only those up to `end` come before the connection is lost."""
    # An iterator: werkzeug would set the right length for bytes.
    return Response(iter([DATA[start:end]]), status=status, headers={"Content-Length": str(len(DATA) - start)})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "DOWNLOAD_PAUSE_S", 0.01)


def asked(server: HTTPServer) -> list[tuple[str | None, str | None]]:
    """Of each request: the range, and the signature."""
    return [(request.headers.get("Range"), request.args.get("signature")) for request, _ in server.log]


def test_an_object_arrives_whole_with_one_request(httpserver: HTTPServer) -> None:
    assert download(httpserver, lambda _, start: cut(start, len(DATA), 200)) == DATA
    assert asked(httpserver) == [(None, "s1")]


def test_a_download_that_breaks_off_goes_on_at_that_byte_with_a_fresh_url(httpserver: HTTPServer) -> None:
    arrived = download(httpserver, lambda _, start: cut(start, len(DATA) if start else 700_000, 206 if start else 200))
    assert arrived == DATA
    (first, *later) = asked(httpserver)
    assert first == (None, "s1")
    assert [signature for _, signature in later] == [f"s{number}" for number in range(2, 2 + len(later))]
    assert all(given is not None and 0 < int(given[6:-1]) <= 700_000 for given, _ in later)


def test_a_server_that_begins_anew_repeats_nothing(httpserver: HTTPServer) -> None:
    arrived = download(httpserver, lambda _, start: cut(0, len(DATA) if start else 700_000, 200))
    assert arrived == DATA
    assert len(asked(httpserver)) == 2


def test_a_download_may_break_off_as_often_as_it_likes_while_it_gets_further(httpserver: HTTPServer) -> None:
    step = len(DATA) // (2 * DOWNLOAD_TRIES)
    assert download(httpserver, lambda _, start: cut(start, min(start + step, len(DATA)))) == DATA
    assert len(asked(httpserver)) > DOWNLOAD_TRIES


def test_a_download_that_gets_no_further_is_given_up_without_its_url(
    httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(TransientError, match="could not be downloaded") as caught:
        download(httpserver, lambda _, start: Response(status=403) if start else cut(0, 300_000, 200))
    assert "HTTP 403" in caught.value.message
    assert len(asked(httpserver)) == 1 + DOWNLOAD_TRIES
    told = f"{caught.value.message} {[record.getMessage() for record in caplog.records if record.name != 'werkzeug']}"
    assert "signature" not in told
