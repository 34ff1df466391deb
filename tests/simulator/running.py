"""Programs the tests of the simulator run: the simulator itself, the official client, and a bare HTTP client."""

import gzip
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import requests

from local.simulator.control import SimulatorControl

ROOT = Path(__file__).resolve().parents[2]
CLIENT_ID = "test#simulator"
CLIENT_SECRET = "not-a-secret"
UNLIMITED = ("--list-limit", "0", "--data-limit", "0")


@dataclass
class RunningSimulator:
    """A simulator in a process of its own."""

    state: Path
    options: tuple[str, ...] = UNLIMITED
    process: subprocess.Popen[str] | None = field(default=None, repr=False)
    url: str = ""

    def start(self) -> "RunningSimulator":
        """Start it and wait until it answers."""
        (self.state / "address").unlink(missing_ok=True)
        self.state.mkdir(parents=True, exist_ok=True)
        # A file, not a pipe: nobody reads it while the simulator runs.
        with (self.state / "log").open("a") as log:
            self.process = run_simulator("--port", "0", "--state", str(self.state), *self.options, output=log)
        deadline = time.monotonic() + 120
        while not (self.state / "address").exists():
            assert self.process.poll() is None, (self.state / "log").read_text()
            assert time.monotonic() < deadline, "the simulator did not start within 120 s"
            time.sleep(0.02)
        self.url = (self.state / "address").read_text().strip()
        self.control = SimulatorControl(self.url)
        return self

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.control.close()
        self.process.terminate()
        self.process.wait(timeout=120)
        return self.process.returncode

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.control.close()
        self.process.kill()
        self.process.wait(timeout=120)


class NewSimulator(Protocol):
    """Starts a simulator for one test, with options of the command line."""

    def __call__(self, *options: str, state: str = "state") -> RunningSimulator: ...


def run_simulator(*arguments: str, output: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command, with the tests' credentials."""
    environment = {**os.environ, "CD2_SIMULATOR_CLIENT_ID": CLIENT_ID, "CD2_SIMULATOR_CLIENT_SECRET": CLIENT_SECRET}
    command = [sys.executable, "-m", "local.simulator", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=output, stderr=output)


@dataclass
class Dap:
    """The official client's command line."""

    url: str
    dsn: str = ""
    secret: str = CLIENT_SECRET
    client_id: str = CLIENT_ID

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "DAP_API_URL": self.url,
            "DAP_CLIENT_ID": self.client_id,
            "DAP_CLIENT_SECRET": self.secret,
            "DAP_TRACKING": "false",
            "DAP_CONNECTION_STRING": self.dsn,
        }
        command = [sys.executable, "-m", "dap", "--non-interactive", "--no-tracking", *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        if check:
            assert result.returncode == 0, result.stderr[-3000:]
        return result

    def initdb(self, namespace: str, *tables: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`dap initdb`."""
        return self("initdb", "--namespace", namespace, "--table", ",".join(tables), **options)

    def syncdb(self, namespace: str, *tables: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`dap syncdb`."""
        return self("syncdb", "--namespace", namespace, "--table", ",".join(tables), **options)


class RawClient:
    """DAP by bare HTTP, to see what exactly is answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers: dict[str, str] = {}

    def login(self, secret: str = CLIENT_SECRET, **form: str) -> requests.Response:
        """Log in and keep the token."""
        data = {"grant_type": "client_credentials"} | form
        answer = self.session.post(f"{self.url}/ids/auth/login", data=data, auth=(CLIENT_ID, secret), timeout=60)
        if answer.ok:
            self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return answer

    def get(self, path: str, timeout: float = 60) -> requests.Response:
        """A GET with the token."""
        return self.session.get(self.url + path, headers=self.headers, timeout=timeout)

    def post(self, path: str, body: Any, timeout: float = 60) -> requests.Response:
        """A POST with the token; a str is sent as it is."""
        given = {"data": body} if isinstance(body, str) else {"json": body}
        return self.session.post(self.url + path, headers=self.headers, timeout=timeout, **given)

    def data(self, table: str, timeout: float = 60, **query: Any) -> requests.Response:
        """Ask for data of `namespace.table`."""
        namespace, _, name = table.partition(".")
        body = {"format": "tsv", "mode": "condensed"} | query
        return self.post(f"/dap/query/{namespace}/table/{name}/data", body, timeout)

    def finished(self, table: str, **query: Any) -> dict[str, Any]:
        """Ask and wait until the job is over."""
        answer = self.data(table, **query)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        deadline = time.monotonic() + 120
        while job["status"] in ("waiting", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
            job = self.get(f"/dap/job/{job['id']}").json()
        return job

    def object_urls(self, job: dict[str, Any]) -> list[str]:
        """The URLs of a job's objects."""
        urls = self.post("/dap/object/url", job["objects"]).json()["urls"]
        return [urls[item["id"]]["url"] for item in job["objects"]]

    def download(self, url: str) -> requests.Response:
        """An object, without a token."""
        return self.session.get(url, timeout=60)

    def text(self, table: str, **query: Any) -> tuple[dict[str, Any], list[str]]:
        """A finished job and the decompressed texts of its objects."""
        job = self.finished(table, **query)
        texts = [gzip.decompress(self.download(url).content).decode() for url in self.object_urls(job)]
        return job, texts

    def rows(self, table: str, **query: Any) -> tuple[dict[str, Any], list[dict[str, str]]]:
        """A finished job and the lines of its TSV objects, by name of the column."""
        job, texts = self.text(table, **query)
        rows = []
        for text in texts:
            header, *lines = text.split("\n")[:-1]
            rows += [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
        return job, rows
