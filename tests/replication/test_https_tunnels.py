"""Behind a proxy that makes tunnels, as DAP needs it: everything that DAP is asked for goes through them.

The work is done in a process of its own, which gets proxy and trusted authorities by its environment, as on MWAA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import trustme

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from local.simulator.__main__ import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl
from tests.replication import measured
from tests.replication.http_proxy import Proxy, proxy
from tests.replication.https import https_front
from tests.replication.replica import assert_equal
from tests.replication.waiting import WAIT_S
from tests.replication.worker import ROOT

TABLE = "canvas.roles"
DAP, OBJECTS = "dap.invalid", "localhost"
"""Only a proxy finds the first; objects are on another host, as DAP's are."""


@dataclass
class Behind:
    """DAP behind TLS, and a proxy.

    :param seen: host and path of each request that reached DAP.
    """

    port: int
    seen: list[tuple[str, str]]
    authority: Path
    proxy: Proxy
    target: DatabaseTarget

    def work(self, action: str, what: str, **environment: str) -> int:
        """What an action counted."""
        where = {
            "dap": asdict(DapCredentials(f"https://{DAP}:{self.port}", DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET)),
            "database": asdict(self.target),
        }
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        given = {"SSL_CERT_FILE": str(self.authority), "PYTHONPATH": f"{ROOT}/plugins"}
        finished = subprocess.run(
            [sys.executable, "-m", "tests.replication.measured", action, what],
            cwd=ROOT,
            env=kept | given | {measured.VARIABLE: json.dumps(where)} | environment,
            stdout=subprocess.PIPE,
            timeout=WAIT_S,
            check=True,
        )
        rows: int = json.loads(finished.stdout)["rows"]
        return rows

    @property
    def tunnels(self) -> set[str]:
        """Where the proxy was asked to make tunnels to; it was asked for nothing else."""
        assert {method for method, _ in self.proxy.requests} <= {"CONNECT"}
        return {place.removesuffix(f":{self.port}") for _, place in self.proxy.requests}

    def paths(self, host: str) -> list[str]:
        return [path for there, path in self.seen if there == host]


@pytest.fixture
def behind(simulator: SimulatorControl, target: DatabaseTarget, tmp_path: Path) -> Iterator[Behind]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert(DAP, OBJECTS)
    with https_front(certificate, simulator.base_url, OBJECTS) as (port, seen), proxy() as there:
        yield Behind(port, seen, tmp_path / "ca.pem", there, target)


def test_listing_jobs_and_objects_go_through_tunnels(
    behind: Behind, simulator: SimulatorControl, database: str
) -> None:
    address = f"http://some%20body:pw@127.0.0.1:{behind.proxy.port}"  # pragma: allowlist secret
    assert behind.work("list", "canvas", HTTPS_PROXY=address) > 50
    assert behind.work("init", TABLE, HTTPS_PROXY=address) > 0
    simulator.advance(0.3, [TABLE])
    assert behind.work("sync", TABLE, HTTPS_PROXY=address) > 0
    assert_equal(simulator, database, TABLE)
    assert behind.tunnels == {DAP, OBJECTS}
    assert behind.proxy.logins == {"some body:pw"}
    for beginning in ("/ids/auth/login", "/dap/query/canvas/table", "/dap/query/canvas/table/roles", "/dap/object/url"):
        assert any(path.startswith(beginning) for path in behind.paths(DAP)), beginning
    assert behind.paths(OBJECTS)
    assert all(path.startswith("/objects/") for path in behind.paths(OBJECTS))


def test_objects_that_no_proxy_names_are_reached_without_a_tunnel(
    behind: Behind, simulator: SimulatorControl, database: str
) -> None:
    proxied = {"HTTPS_PROXY": f"http://127.0.0.1:{behind.proxy.port}", "NO_PROXY": f"example.org,{OBJECTS}"}
    assert behind.work("init", TABLE, **proxied) > 0
    assert_equal(simulator, database, TABLE)
    assert behind.tunnels == {DAP}
    assert behind.paths(OBJECTS)
