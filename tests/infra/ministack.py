"""MiniStack: AWS services that enforce IAM, in an environment of their own (its dependencies contradict Airflow's)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from local.processes.ports import free_port
from tests.infra.tools import installed

VERSION = "1.5.33"
ACCOUNT = "000000000000"
REGION = "eu-central-1"


class MiniStack:
    """A running one."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str, credentials: dict[str, str] | None = None) -> Any:
        """A boto3 client, of the account's root unless told."""
        given = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test", "SessionToken": ""}
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"] or None,
            config=Config(inject_host_prefix=False),  # api.127.0.0.1 is no host
        )


@contextmanager
def running(folder: Path) -> Iterator[MiniStack]:
    """Start one with IAM enforcement, and stop it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW"))}
    environment |= {"AUTH": "true", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": str(folder)}
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "MINISTACK_REGION": REGION}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [installed("ministack", VERSION) / "python", "-m", "ministack"],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        yield _answering(f"http://127.0.0.1:{port}", process, folder / "log")
    finally:
        process.terminate()
        process.wait(20)


def _answering(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> MiniStack:
    deadline = time.monotonic() + 300
    with requests.Session() as session:
        session.trust_env = False
        while True:
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, "MiniStack does not answer"
            try:
                if session.get(f"{endpoint}/_ministack/health", timeout=5).ok:
                    return MiniStack(endpoint)
            except requests.RequestException:
                time.sleep(0.2)
