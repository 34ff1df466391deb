"""What `cd2.replication.dap.session` takes for granted about the official client's session, private members included.

A new version of the client may rename or change them without notice; this says which.
"""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

import pytest
from aiohttp import ClientSession
from dap.api import DAPSession
from dap.dap_types import Credentials, Object

from cd2.replication.dap.pacing import Pacer
from cd2.replication.dap.session import DapCredentials, DapSession
from cd2.replication.database.connection import DatabaseTarget, Replica
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

METHODS = {
    "__init__": ("self", "session", "base_url", "credentials", "tracking_data"),
    "_get": ("self", "path", "response_type"),
    "_post": ("self", "path", "request_data", "response_type"),
    "_process": ("self", "response", "response_type", "suppress_output"),
    "authenticate": ("self",),
    "close": ("self",),
    "get_tables": ("self", "namespace"),
    "get_table_schema": ("self", "namespace", "table"),
    "get_job": ("self", "job_id"),
    "get_resources": ("self", "objects"),
}
"""What we override or call, with its parameters."""
ATTRIBUTES: dict[str, type] = {
    "_base_url": str,
    "_session": ClientSession,
    "_headers": dict,
    "_access_token": type(None),
}
"""What we read or set, with its type before the first call."""


def departures(client: type[Any]) -> list[str]:
    """What another client's session class does not have, or has otherwise: a sentence each."""
    found = []
    for name, parameters in METHODS.items():
        member = getattr(client, name, None)
        if not callable(member):
            found.append(f"DAPSession.{name} is gone")
        elif (now := tuple(inspect.signature(member).parameters)) != parameters:
            found.append(f"DAPSession.{name} takes ({', '.join(now)}) instead of ({', '.join(parameters)})")
    return found


def at(advice: list[str]) -> str:
    return (
        f"instructure-dap-client {version('instructure-dap-client')} is not what cd2/replication/dap/session.py builds "
        f"on: {'; '.join(advice)}. Adapt that module, then this test."
    )


def test_the_clients_session_has_the_methods_that_we_override_or_call() -> None:
    assert departures(DAPSession) == [], at(departures(DAPSession))


def test_a_method_that_is_renamed_or_takes_something_else_is_named() -> None:
    async def get(self: object, path: str, response_type: type, retries: int) -> None: ...

    newer = type("Newer", (DAPSession,), {"_get": get, "_post": None})
    assert departures(newer) == [
        "DAPSession._get takes (self, path, response_type, retries) instead of (self, path, response_type)",
        "DAPSession._post is gone",
    ]


def test_the_clients_session_has_the_attributes_that_we_read_or_set() -> None:
    async def look() -> dict[str, type]:
        credentials = Credentials.create(client_id=DEFAULT_CLIENT_ID, client_secret=DEFAULT_CLIENT_SECRET)
        session = DAPSession(ClientSession(), "http://127.0.0.1:1", credentials, None)
        try:
            return {name: type(getattr(session, name, "missing")) for name in ATTRIBUTES}
        finally:
            await session.close()

    found = asyncio.run(look())
    wrong = [f"DAPSession.{name} is {found[name].__name__}" for name in ATTRIBUTES if found[name] != ATTRIBUTES[name]]
    assert wrong == [], at(wrong)


class Through(Exception):
    """Where a call of the client came through: its method and path."""


class Traced(DapSession):
    """Ends each call where it comes through what we override."""

    async def _get(self, path: str, response_type: Any) -> Any:
        raise Through("_get", path)

    async def _post(self, path: str, request_data: Any, response_type: Any) -> Any:
        raise Through("_post", path)


@pytest.mark.parametrize(
    ("call", "arguments", "through"),
    [
        ("get_job", ("a-job",), ("_get", "/dap/job/a-job")),
        ("get_table_schema", ("canvas", "users"), ("_get", "/dap/query/canvas/table/users/schema")),
        ("get_resources", ([Object("an-object")],), ("_post", "/dap/object/url")),
    ],
)
def test_the_clients_calls_go_through_what_we_override(
    call: str, arguments: tuple[Any, ...], through: tuple[str, str], target: DatabaseTarget
) -> None:
    """So that each gets a new token when the one we had is refused, and our errors."""

    async def work() -> None:
        credentials = DapCredentials("http://127.0.0.1:1", DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)
        async with Traced(credentials, Pacer(Replica(target), "key", {"data": 60_000, "list": 60_000})) as session:
            await getattr(session, call)(*arguments)

    with pytest.raises(Through) as caught:
        asyncio.run(work())
    assert caught.value.args == through
