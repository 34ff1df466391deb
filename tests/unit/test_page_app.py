"""The app that serves the page: its files, nothing else, and cheap wherever it is not used."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from cd2.page.app import EXTERNAL_VIEWS, STATIC, URL_PREFIX, Page
from local.settings import REPOSITORY

FILES = sorted(path.name for path in STATIC.iterdir())
MESSAGES = ["wait in line for a turn at DAP", "s for our turn", "DAP is still working on job", "resuming with job"]
"""Of the logs, from which the page tells what a table waits for."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def get(path: str, **headers: str) -> Answer:
    """Ask the app, mounted as Airflow does it, for a path below it."""
    mounted = Starlette(routes=[Mount(URL_PREFIX, app=Page())])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": f"{URL_PREFIX}/{path}", "root_path": "", "headers": pairs}
    asyncio.run(mounted(scope, receive, send))
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_to_be_asked_for_again_and_for_nobody_elses_frame(name: str) -> None:
    answer = get(name)
    assert answer.status == 200
    assert answer.body == (STATIC / name).read_bytes()
    assert answer.headers["cache-control"] == "no-cache"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert get(name, if_none_match=answer.headers["etag"]).status == 304


def test_the_folder_is_the_page_and_nothing_beside_it_is_served() -> None:
    assert get("").body == (STATIC / "index.html").read_bytes()
    for path in ("app.py", "../app.py", "../../settings.py", "status", "/etc/passwd"):
        assert get(path).status == 404


def test_both_places_in_airflow_show_the_page_by_addresses_relative_to_airflows_own() -> None:
    assert [view["destination"] for view in EXTERNAL_VIEWS] == ["nav", "dag"]
    for view in EXTERNAL_VIEWS:
        assert str(view["href"]).startswith(f".{URL_PREFIX}/")
        for icon in ("icon", "icon_dark_mode"):
            assert str(view[icon]).removeprefix(f".{URL_PREFIX}/") in FILES


def test_no_address_in_its_files_leaves_airflow() -> None:
    for name in FILES:
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//\w+\.", text), name
        assert not re.search(r"""(src|href|from|url\()[ =]*["']/""", text), name


def test_airflow_takes_the_plugin_and_a_task_does_not_load_a_web_framework_for_it(tmp_path: object) -> None:
    script = (
        "import sys; import cd2.page.app; before = 'starlette' in sys.modules; import json, cd2_plugin as p; "
        "print(json.dumps([before, len(p.Cd2Plugin.fastapi_apps), len(p.Cd2Plugin.external_views)]))"
    )
    path = f"{REPOSITORY / 'plugins'}"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout.splitlines()[-1]) == [False, 1, 2]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_the_page_looks_for_in_logs_is_what_our_code_logs(message: str) -> None:
    code = "\n".join(path.read_text() for path in (REPOSITORY / "plugins" / "cd2" / "replication").rglob("*.py"))
    assert message in code
    assert message in (STATIC / "model.js").read_text().replace(r"(\d+) ", "")
