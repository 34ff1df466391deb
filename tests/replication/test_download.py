"""The download of an object goes on where it stopped, as long as it gets any further."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from cd2.replication.dap import downloads
from cd2.replication.dap.downloads import DOWNLOAD_TRIES, Downloads
from cd2.replication.dap.jobs import keeps_its_job
from cd2.replication.dap.pacing import Pacer
from cd2.replication.dap.session import DapCredentials, DapSession
from cd2.replication.database.connection import DatabaseTarget, Replica
from cd2.replication.errors import FailedJobError, TransientError, from_json, to_json

DATA = bytes(range(256)) * 4096
"""A megabyte, of which every part is unlike the next."""
NOWHERE = DatabaseTarget("127.0.0.1", 1, "none", "none", "none", "disable", "")


class NoPacer(Pacer):
    """Every turn comes at once."""

    async def turn(self, *_: object) -> float:
        return 0.0


class Session(DapSession):
    """Hands out the address of a test's server, with another signature in each call.

    `calls` has the objects of each call.
    """

    def __init__(self, address: str) -> None:
        super().__init__(DapCredentials(address, "id", "secret"), NoPacer(Replica(NOWHERE), "id", {}))
        self._address = address
        self.calls: list[list[str]] = []

    async def urls(self, object_ids: Sequence[str]) -> dict[str, str]:
        self.calls.append(list(object_ids))
        return {part: f"{self._address}/{part}?signature=s{len(self.calls)}" for part in object_ids}


def download(server: HTTPServer, answer: Callable[[Request, int], Response]) -> bytes:
    """What arrives of an object whose server answers so, from the byte at which it was asked to begin."""

    def handle(request: Request) -> Response:
        given = request.headers.get("Range", "bytes=0-")
        return answer(request, int(given.removeprefix("bytes=").removesuffix("-")))

    server.expect_request(re.compile(".*")).respond_with_handler(handle)

    async def work() -> bytes:
        async with Session(server.url_for("/object")) as opened, Downloads(opened, ["an-object"]) as objects:
            return b"".join([block async for block in objects.download("an-object")])

    return asyncio.run(work())


def cut(start: int, end: int, status: int = 206) -> Response:
    """The bytes from `start`, of which only those up to `end` come before the connection is lost."""
    # An iterator: werkzeug would set the right length for bytes.
    return Response(iter([DATA[start:end]]), status=status, headers={"Content-Length": str(len(DATA) - start)})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "DOWNLOAD_PAUSE_S", 0.01)


def asked(server: HTTPServer) -> list[tuple[str | None, str | None]]:
    """Of each request: the range, and the signature."""
    return [(request.headers.get("Range"), request.args.get("signature")) for request, _ in server.log]


def test_an_object_arrives_whole_with_one_request(httpserver: HTTPServer) -> None:
    assert download(httpserver, lambda _, start: cut(start, len(DATA), 200)) == DATA
    assert asked(httpserver) == [(None, "s1")]


def test_a_download_that_breaks_off_goes_on_at_that_byte(httpserver: HTTPServer) -> None:
    arrived = download(httpserver, lambda _, start: cut(start, len(DATA) if start else 700_000, 206 if start else 200))
    assert arrived == DATA
    (first, *later) = asked(httpserver)
    assert first == (None, "s1")
    # Its URL has not expired.
    assert {signature for _, signature in later} == {"s1"}
    assert all(given is not None and 0 < int(given[6:-1]) <= 700_000 for given, _ in later)


def test_a_url_that_is_refused_is_replaced(httpserver: HTTPServer) -> None:
    def answer(request: Request, start: int) -> Response:
        return Response(status=403) if request.args["signature"] == "s1" else cut(start, len(DATA), 200)

    assert download(httpserver, answer) == DATA
    assert asked(httpserver) == [(None, "s1"), (None, "s2")]


@pytest.mark.parametrize("status", [404, 410])
def test_an_object_that_is_gone_demands_a_new_job(httpserver: HTTPServer, status: int) -> None:
    with pytest.raises(FailedJobError, match="the retry asks for a new one") as caught:
        download(httpserver, lambda *_: Response(status=status))
    assert len(asked(httpserver)) == 1
    assert not keeps_its_job(from_json(to_json(caught.value)))


# -- URLs of many objects --------------------------------------------------------------------------


def calls_for(server: HTTPServer, objects: list[str], expired: tuple[str, ...] = ()) -> list[list[str]]:
    """The calls for URLs that downloading these objects takes.

    :param expired: signatures that the server refuses.
    """

    def handle(request: Request) -> Response:
        return Response(status=403) if request.args["signature"] in expired else Response(b"it")

    server.clear_all_handlers()
    server.expect_request(re.compile(".*")).respond_with_handler(handle)

    async def work() -> list[list[str]]:
        asked = Session(server.url_for("/object"))
        async with asked, Downloads(asked, objects) as opened:
            for part in objects:
                assert b"".join([block async for block in opened.download(part)]) == b"it"
        return asked.calls

    return asyncio.run(work())


OBJECTS = [f"o{number}" for number in range(5)]


def test_one_call_gets_the_urls_of_many_objects(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls_for(httpserver, OBJECTS) == [OBJECTS]
    monkeypatch.setattr(downloads, "URLS_PER_CALL", 2)
    assert calls_for(httpserver, OBJECTS) == [["o0", "o1"], ["o2", "o3"], ["o4"]]


def test_only_urls_that_have_expired_are_asked_for_again(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was signed together expires together; what is downloaded is not asked for again.
    assert calls_for(httpserver, OBJECTS, expired=("s1",)) == [OBJECTS, OBJECTS]
    monkeypatch.setattr(downloads, "URLS_PER_CALL", 2)
    calls = calls_for(httpserver, OBJECTS, expired=("s2",))
    assert calls == [["o0", "o1"], ["o2", "o3"], ["o2", "o3"], ["o4"]]


def test_a_url_that_is_old_is_not_used(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "URL_LIFE_S", 0.0)
    assert calls_for(httpserver, OBJECTS[:3]) == [OBJECTS[:3], OBJECTS[:3], OBJECTS[1:3], OBJECTS[2:3]]


def test_an_object_without_a_url_demands_a_new_job(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*_: object) -> dict[str, str]:
        return {}

    async def work() -> None:
        async with Session("http://127.0.0.1:1") as opened, Downloads(opened, OBJECTS):
            """It is opened by asking for URLs."""

    monkeypatch.setattr(Session, "urls", none)
    with pytest.raises(FailedJobError, match="DAP returned no URL"):
        asyncio.run(work())


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
