"""An error of a gateway, a proxy or a newer DAP is reported with its status and path, its type and uuid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import jwt
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import Cd2Error, RefusedCredentials, StopAll, TransientError
from cd2.replication.replicator import Replicator
from tests.replication.replica import NO_PACE, run

PAGE = "<html><body><h1>Forbidden</h1> secret-of-the-page</body></html>"
LOGIN, LIST = "/ids/auth/login", "/dap/query/canvas/table"
TOKEN = json.dumps(
    {
        "access_token": jwt.encode({"exp": 4102444800}, "a key of the service that nobody checks here"),
        "expires_in": 3600,
        "scope": "",
        "token_type": "Bearer",
    }
)
UNKNOWN = {"error": {"type": "AccountOnVacation", "uuid": "u-17", "message": "come back in June"}}


@pytest.fixture
def dap() -> Iterator[HTTPServer]:
    """A server on which tests say what DAP answers."""
    with HTTPServer() as server:
        yield server


def listing_fails(dap: HTTPServer, target: DatabaseTarget, base_path: str = "") -> Cd2Error:
    replicator = Replicator(DapCredentials(dap.url_for(base_path), "id", "key-secret-9"), target, NO_PACE)
    with pytest.raises(Cd2Error) as caught:
        run(replicator.list_tables("canvas"))
    assert "secret-of-the-page" not in caught.value.message
    assert "key-secret-9" not in caught.value.message
    return caught.value


STATUSES = {200: TransientError, 400: TransientError, 401: RefusedCredentials, 403: TransientError, 404: None}
BODIES = {
    "html": (PAGE, "text/html"),
    "empty": ("", "text/plain"),
    "json": ('{"message": "no Route matched"}', "application/json"),
}
PAGES = [
    pytest.param(status, kind, *answer, id=f"{status}-{name}", marks=() if name == "html" else pytest.mark.slow)
    for status, kind in STATUSES.items()
    for name, answer in BODIES.items()
    if (status, name) != (200, "json")  # an answer of the API, although not the one that was expected
]


@pytest.mark.parametrize("path", [LOGIN, LIST])
@pytest.mark.parametrize(("status", "kind", "body", "content_type"), PAGES)
def test_a_page_keeps_its_status_and_path(
    path: str,
    status: int,
    kind: type[Cd2Error] | None,
    body: str,
    content_type: str,
    dap: HTTPServer,
    target: DatabaseTarget,
) -> None:
    dap.expect_request(LOGIN, method="POST").respond_with_response(
        Response(body, status, content_type=content_type)
        if path == LOGIN
        else Response(TOKEN, content_type="application/json")
    )
    dap.expect_request(LIST).respond_with_response(Response(body, status, content_type=content_type))
    error = listing_fails(dap, target)
    assert type(error) is (kind or (StopAll if path == LOGIN else TransientError))
    assert f"DAP answered {status} for {path}" in error.message
    assert "dap_base_url" in error.message
    assert error.type == f"HTTP {status}"


def test_an_unknown_refusal_keeps_type_and_uuid(dap: HTTPServer, target: DatabaseTarget) -> None:
    for status in (400, 403, 404, 409, 422):
        dap.clear()
        dap.expect_request(LOGIN).respond_with_data(TOKEN, content_type="application/json")
        dap.expect_request(LIST).respond_with_json(UNKNOWN, status=status)
        error = listing_fails(dap, target)
        assert type(error) is TransientError
        assert (error.type, error.uuid) == ("AccountOnVacation", "u-17")
        assert "come back in June" in error.message
        if status == 403:  # the client knows some types with this status, and loses all others
            assert f"DAP answered 403 for {LIST}: AccountOnVacation (come back in June)" in error.message


def test_a_wrong_base_path_is_told(dap: HTTPServer, target: DatabaseTarget) -> None:
    dap.expect_request(re.compile(".*")).respond_with_data(PAGE, status=404, content_type="text/html")
    error = listing_fails(dap, target, "/api/v1")
    assert isinstance(error, StopAll)
    assert f"/api/v1{LOGIN}" in error.message
    assert "dap_base_url" in error.message


@pytest.mark.parametrize("path", [LOGIN, LIST])
def test_one_page_with_401_stops_nothing(path: str, dap: HTTPServer, target: DatabaseTarget) -> None:
    answers = {
        LOGIN: Response(TOKEN, content_type="application/json"),
        LIST: Response('{"tables": ["users"]}', content_type="application/json"),
    }
    dap.expect_oneshot_request(path).respond_with_response(Response(PAGE, 401, content_type="text/html"))
    for each, answer in answers.items():
        dap.expect_request(each).respond_with_response(answer)
    replicator = Replicator(DapCredentials(dap.url_for(""), "id", "secret"), target, NO_PACE)
    assert [str(table) for table in run(replicator.list_tables("canvas"))] == ["canvas.users"]
