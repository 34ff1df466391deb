"""The error envelopes of DAP, and of the object store."""

import json
import uuid
from typing import Any

from aiohttp import web


class DapError(Exception):
    """An error answer: `{"error": {"type", "uuid", "message", ...}}` with a status."""

    def __init__(
        self, status: int, name: str, message: str, headers: dict[str, str] | None = None, **fields: Any
    ) -> None:
        super().__init__(message)
        self.status, self.name, self.message, self.headers, self.fields = status, name, message, headers, fields

    def response(self) -> web.Response:
        """The answer."""
        error = {"type": self.name, "uuid": str(uuid.uuid4()), "message": self.message, **self.fields}
        return web.json_response({"error": error}, status=self.status, headers=self.headers)


def not_found(kind: str, identifier: str) -> DapError:
    """A namespace, table, job or object that is not there."""
    return DapError(404, "NotFound", f"{kind} not found", id=identifier, kind=kind)


def invalid(message: str, character: int = 0, text: str = "") -> DapError:
    """A malformed request, and where."""
    before = text[:character]
    location = {
        "line": before.count("\n") + 1,
        "column": character - (before.rfind("\n") + 1) + 1,
        "character": character + 1,
    }
    return DapError(400, "ValidationError", message, location=location)


def unauthenticated(message: str) -> DapError:
    """Wrong credentials, or a token that is missing, wrong or expired."""
    return DapError(401, "AuthenticationError", message)


def too_many_requests(retry_after: int | None) -> DapError:
    """A limit was reached."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return DapError(429, "TooManyRequests", "Rate limit exceeded", headers)


def parse_json(text: str) -> Any:
    """The body of a request.

    :raises DapError: it is not JSON; says where.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        character = getattr(error, "pos", 0)
        raise invalid("The request body is not valid JSON", character, text) from None


def store_error(status: int, code: str, message: str) -> web.Response:
    """An error of the object store: XML, as S3 answers."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{uuid.uuid4().hex[:16].upper()}</RequestId></Error>"
    )
    return web.Response(status=status, text=body, content_type="application/xml")
