"""Processes that load a table, to be killed: each is forked from one that has the engine imported already.

`python -m tests.replication.worker` is that one; `Workers` is how tests steer it. Secrets come by the environment.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from cd2.replication.dap.session import DapCredentials
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import Cd2Error
from cd2.replication.names import NAMESPACES
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from tests.replication.waiting import WAIT_S
from tests.steps import init, load_job, sync, verify

DATABASE_SECRET, DAP_SECRET = "CD2_TEST_DATABASE_PASSWORD", "CD2_TEST_DAP_SECRET"
ROOT = Path(__file__).parents[2]


async def up_to_date(replicator: Replicator, name: str) -> TableResult:
    """What the DAG does with a table: sync it, and init it in the same run if that is needed."""
    result = await sync(replicator, name)
    return await init(replicator, name) if result.state == "needs_init" else result


async def _do(action: str, name: str, replicator: Replicator, job_id: str) -> TableResult:
    match action:
        case "load":
            return await load_job(replicator, name, job_id, "sync")
        case "sync":
            return await sync(replicator, name)
        case "init":
            return await init(replicator, name)
        case "verify" | "repair":
            return await verify(replicator, name, repair=action == "repair")
        case "update":
            return await up_to_date(replicator, name)
        case "prepare and init":
            await replicator.prepare(NAMESPACES)
            return await init(replicator, name)
    raise AssertionError(action)


def _child(order: dict[str, Any]) -> None:
    target = replace(DatabaseTarget(**order["target"]), password=os.environ[DATABASE_SECRET])
    credentials = DapCredentials(order["base_url"], order["client_id"], os.environ[DAP_SECRET])
    try:
        result = asyncio.run(
            _do(order["action"], order["table"], Replicator(credentials, target, 60_000), order["job_id"])
        )
        answer: dict[str, Any] = {"result": result.to_json()}
    except Cd2Error as error:
        answer = {"error": type(error).__name__, "message": error.message}
    _say({"id": order["id"], **answer})


def _say(message: dict[str, Any]) -> None:
    # One write of less than a pipe's block: lines of several processes do not mix.
    os.write(1, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Fork a process for each order on stdin; tell on stdout what becomes of it."""
    children: dict[int, int] = {}
    # A handler alone would not do: a child that ends just before we begin to wait for input would go unnoticed.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    orders = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 12)
            _reap(children)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, orders = (orders + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = _fork(order)
                children[pid] = order["id"]
                _say({"id": order["id"], "pid": pid})
            _reap(children)


def _reap(children: dict[int, int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        _say({"id": children.pop(pid), "status": status})


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 1
    try:
        _child(order)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


class Worker:
    """A process that loads a table."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.pid = 0
        self.status: int | None = None
        self._changed = threading.Condition()

    def told(self, message: dict[str, Any]) -> None:
        """Something happened to it."""
        with self._changed:
            self.pid = message.get("pid", self.pid)
            self.status = message.get("status", self.status)
            if "result" in message or "error" in message:
                self.answer = message
            self._changed.notify_all()

    def kill(self) -> None:
        """End it with SIGKILL, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    @property
    def ended(self) -> bool:
        return self.status is not None

    @property
    def killed(self) -> bool:
        return self.status == signal.SIGKILL

    def wait(self, timeout: float = WAIT_S) -> dict[str, Any]:
        """Wait for its end; what it said before."""
        self.wait_for(lambda: self.ended, timeout)
        return self.answer

    def wait_for(self, condition: Callable[[], bool], timeout: float = WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout), "the worker took too long"

    def result(self, timeout: float = WAIT_S) -> TableResult:
        """Wait for its success."""
        answer = self.wait(timeout)
        assert "result" in answer, f"status {self.status}: {answer}"
        return TableResult.from_json(answer["result"])


class Workers:
    """Starts workers for one simulator and one server; to be entered.

    :param log: where what they log goes.
    """

    def __init__(self, credentials: DapCredentials, password: str, log: Path) -> None:
        self._credentials = credentials
        self._workers: dict[int, Worker] = {}
        self._numbers = itertools.count()
        with log.open("wb") as output:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.replication.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=ROOT,
                env=os.environ
                | {DATABASE_SECRET: password, DAP_SECRET: credentials.client_secret, "PYTHONPATH": f"{ROOT}/plugins"},
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(WAIT_S)

    def start(self, action: str, table: str, target: DatabaseTarget, job_id: str = "") -> Worker:
        """Start a process.

        :param action: sync, init, verify, repair, `update` (sync, and init if needed), `prepare and init`, or `load`.
        :param job_id: the job to load.
        """
        number, worker = next(self._numbers), Worker()
        self._workers[number] = worker
        order = {
            "id": number,
            "action": action,
            "table": table,
            "job_id": job_id,
            "target": asdict(target) | {"password": ""},
            "base_url": self._credentials.base_url,
            "client_id": self._credentials.client_id,
        }
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(order).encode() + b"\n")
        self._parent.stdin.flush()
        worker.wait_for(lambda: worker.pid > 0)
        return worker

    def kill_all(self) -> None:
        """End all that still work, and wait for their end."""
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.wait()

    def _listen(self) -> None:
        assert self._parent.stdout is not None
        for line in self._parent.stdout:
            message = json.loads(line)
            self._workers[message["id"]].told(message)


if __name__ == "__main__":
    main()
