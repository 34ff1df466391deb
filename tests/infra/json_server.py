"""A server that speaks JSON as AWS's REST services do, for protocols that neither moto nor MiniStack has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Answer = tuple[int, str, dict[str, Any]]
"""Status, kind of the error (empty if it is none), body."""


@contextmanager
def serving_json(answer: Callable[[str, str, dict[str, Any]], Answer]) -> Iterator[str]:
    """The address of a server on a free port, which is an HTTP proxy, too.

    :param answer: of the host and the path that are asked for, and the request's body.
    """

    def respond(request: Request) -> Response:
        status, kind, body = answer(request.host, request.path, json.loads(request.get_data() or b"{}"))
        headers = {"x-amzn-ErrorType": kind} if kind else {}
        return Response(json.dumps(body), status, headers, content_type="application/json")

    with HTTPServer(threaded=True) as server:
        server.expect_request(re.compile(".*")).respond_with_handler(respond)
        yield f"http://127.0.0.1:{server.port}"
        server.check()  # an error in `answer` is none of the program under test
