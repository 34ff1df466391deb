"""Answers of DAP that the official client cannot read, and whose status, path, type and uuid it would lose."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from cd2.replication.errors import (
    Cd2Error,
    FailedJobError,
    RefusedCredentials,
    StopAll,
    TableFailure,
    TransientError,
)

if TYPE_CHECKING:
    from dap.dap_error import NotFoundError

LOGIN_PATH = "/ids/auth/login"
_NAMESPACE = re.compile(r"/dap/query/([^/]+)/table/")


async def unread(response: aiohttp.ClientResponse) -> Cd2Error:
    """What an answer means that the client could not read: a page of a gateway, or an error of a type that is new."""
    status, path = response.status, urlsplit(str(response.url)).path
    error = _error(await response.text(errors="replace"))
    kind = error.get("type") or f"HTTP {status}"
    said = f" ({error['message']})" if error.get("message") else ""
    where = f"DAP answered {status} for {path}"
    if status == 401:
        return RefusedCredentials(
            f"{where}{said}: it refused the credentials. Check client id and secret, and dap_base_url.",
            type=kind,
            uuid=error.get("uuid"),
        )
    if error:
        return TransientError(
            f"{where}: {kind}{said}. It will be retried; if it lasts, give type and uuid to Instructure's support.",
            type=kind,
            uuid=error.get("uuid"),
        )
    found = f"{where} with something other than an answer of its API ({response.content_type})"
    if status == 404 and path.endswith(LOGIN_PATH):
        return StopAll(f"{found}: check dap_base_url: it must be the part before {LOGIN_PATH}.", type=kind)
    if status == 403:
        return TransientError(
            f"{found}: a gateway, a firewall or a proxy refused the call. It will be retried; if it lasts, check "
            "dap_base_url and the network path to it.",
            type=kind,
        )
    return TransientError(f"{found}: it will be retried. If it lasts, check dap_base_url.", type=kind)


def missing(error: NotFoundError, path: str) -> Cd2Error:
    """What DAP's 404 means: a job or an object that is gone is made anew, a namespace or a table is not.

    :param path: of the call.
    """
    about: dict[str, str | None] = {"type": error.type, "uuid": error.uuid}
    kind = "job" if "/dap/job/" in path else str(error.kind).lower()
    if kind in ("job", "object"):
        return FailedJobError(f"DAP no longer has the {kind} ({error.message}): the retry asks for a new one.", **about)
    if kind == "namespace":
        return TableFailure(
            f"DAP has no namespace {error.id}, or does not let this key see it: correct [cd2] namespaces, or have "
            "Instructure grant it to the key.",
            **about,
        )
    namespace = _NAMESPACE.search(path)
    whose = f"{namespace[1]}.{error.id}: " if kind == "table" and namespace else ""
    return TableFailure(
        f"{whose}DAP does not have the {kind} {error.id} (anymore): the next run lists the tables again.", **about
    )


def _error(body: str) -> dict[str, str]:
    """Type, uuid and message of the error in a body, as far as they are there."""
    try:
        envelope: Any = json.loads(body)
    except ValueError:
        return {}
    error = envelope.get("error") if isinstance(envelope, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("type"), str):
        return {}
    return {name: error[name] for name in ("type", "uuid", "message") if isinstance(error.get(name), str)}
