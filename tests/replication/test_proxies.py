"""DAP and the objects are reached through the proxy that the environment names, and only through that."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cd2.replication.dap.proxies import proxy_for
from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import StopAll, TransientError
from cd2.replication.replicator import Replicator
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl
from tests.replication.http_proxy import proxy
from tests.replication.replica import NO_PACE, assert_equal, make_replicator, run
from tests.steps import init

TABLE = "canvas.roles"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No proxy, whatever this machine has."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def through(simulator: SimulatorControl, target: DatabaseTarget, host: str) -> Replicator:
    """A replicator to which the simulator is a host that only the proxy knows."""
    base_url = f"http://{host}:{urlsplit(simulator.base_url).port}"
    return Replicator(DapCredentials(base_url, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET), target, NO_PACE)


def test_calls_and_objects_go_through_the_proxy(
    simulator: SimulatorControl, target: DatabaseTarget, database: str, environment: pytest.MonkeyPatch
) -> None:
    with proxy() as there:
        environment.setenv("HTTP_PROXY", f"http://some%20body:pw@127.0.0.1:{there.port}")  # pragma: allowlist secret
        assert run(init(through(simulator, target, "dap.invalid"), TABLE)).state == "initialized"
    assert_equal(simulator, database, TABLE)
    paths = [urlsplit(url).path for _, url in there.requests]
    assert "/ids/auth/login" in paths
    assert any(path.startswith("/dap/job/") for path in paths)
    objects = [url for method, url in there.requests if method == "GET" and "/dap/" not in url]
    assert objects, there.requests
    assert there.logins == {"some body:pw"}


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.org, 127.0.0.1", "*"])
def test_what_no_proxy_names_is_reached_directly(
    no_proxy: str, simulator: SimulatorControl, target: DatabaseTarget, environment: pytest.MonkeyPatch
) -> None:
    with proxy() as there:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{there.port}")
        environment.setenv("NO_PROXY", no_proxy)
        assert run(init(make_replicator(simulator, target), TABLE)).state == "initialized"
    assert there.requests == []


def test_objects_may_be_reached_directly_and_dap_through_the_proxy(
    simulator: SimulatorControl, target: DatabaseTarget, environment: pytest.MonkeyPatch
) -> None:
    with proxy() as there:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{there.port}")
        environment.setenv("NO_PROXY", "127.0.0.1")
        assert run(init(through(simulator, target, "dap.invalid"), TABLE)).state == "initialized"
    assert {urlsplit(url).hostname for _, url in there.requests} == {"dap.invalid"}


def test_a_proxy_that_refuses_the_login_is_told_without_it(
    target: DatabaseTarget, environment: pytest.MonkeyPatch
) -> None:
    with proxy(refuse=b"407 Proxy Authentication Required") as there:
        environment.setenv("https_proxy", f"somebody:proxy-pw-3@127.0.0.1:{there.port}")  # pragma: allowlist secret
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        replicator = Replicator(DapCredentials("https://dap.invalid", "id", "secret"), target, NO_PACE)
        with pytest.raises(TransientError, match=r"The proxy refused the connection.*HTTPS_PROXY.*HTTP 407") as caught:
            run(replicator.list_tables("canvas"))
    assert there.requests[0] == ("CONNECT", "dap.invalid:443")
    assert there.logins == {"somebody:proxy-pw-3"}
    assert "proxy-pw-3" not in caught.value.message


@pytest.mark.parametrize("there", ["127.0.0.1:1", "proxy.invalid:3128", "[::1]:1"])
def test_a_proxy_that_is_not_there_is_told_by_its_address_without_its_login(
    there: str, target: DatabaseTarget, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTPS_PROXY", f"http://somebody:proxy-pw-3@{there}")  # pragma: allowlist secret
    replicator = Replicator(DapCredentials("https://dap.invalid", "id", "secret"), target, NO_PACE)
    with pytest.raises(TransientError, match=r"The (proxy|DAP service) could not be reached") as caught:
        run(replicator.list_tables("canvas"))
    assert f"{there.strip('[').replace(']', '')}: " in caught.value.message
    assert "proxy-pw-3" not in caught.value.message
    assert "somebody" not in caught.value.message


def test_a_netrc_does_not_add_a_login_to_ours(
    simulator: SimulatorControl, target: DatabaseTarget, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    assert run(init(make_replicator(simulator, target), TABLE)).state == "initialized"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api-gateway.instructure.com", "http://proxy.example:3128"),
        ("https://bucket.s3.eu-west-1.amazonaws.com/object?X-Amz-Signature=1", None),
        ("https://inside.example:8443/", None),
        ("https://inside.example/", "http://proxy.example:3128"),
        ("http://api-gateway.instructure.com", None),
    ],
)
def test_the_proxy_depends_on_the_address(url: str, expected: str | None, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "proxy.example:3128")
    environment.setenv("NO_PROXY", "localhost, .amazonaws.com,inside.example:8443")
    assert proxy_for(url) == expected


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "ftp"])
def test_a_proxy_of_another_kind_is_refused_without_its_login(scheme: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", f"{scheme}://somebody:proxy-pw-3@proxy.example:1080")  # pragma: allowlist secret
    with pytest.raises(StopAll, match=rf"HTTPS_PROXY names a {scheme} proxy.*NO_PROXY") as caught:
        proxy_for("https://api-gateway.instructure.com")
    assert "proxy-pw-3" not in caught.value.message
