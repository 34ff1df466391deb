"""MWAA's protocol (GetEnvironment, InvokeRestApi) in front of a real Airflow.

Reached as an HTTP proxy, because the AWS clients put `api.` and `env.` before the name of the endpoint. Keeps MWAA's
limits on size: paths of 64 characters, answers of 6 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.infra.json_server import Answer, serving_json

NAME = "canvas-data-2-dev"
LONGEST_PATH = 64
TIMEOUT_S = 120
LARGEST = 6_000_000


class MwaaApi:
    """What the server knows.

    :param airflow: address of the Airflow behind it; None: none is there yet.
    """

    def __init__(self, airflow: str | None = None, password: str = "") -> None:
        self.environment: dict[str, Any] = {
            "Name": NAME,
            "Status": "AVAILABLE",
            "AirflowVersion": "3.3.1",
            "WebserverUrl": "abc.c0.eu-central-1.airflow.amazonaws.com",
            "AirflowConfigurationOptions": {"cd2.namespaces": "canvas,catalog"},
        }
        self.refusals: list[Answer] = []
        """Status, kind and body of the answers to the next calls of InvokeRestApi."""
        self.calls: list[tuple[str, str]] = []
        self._airflow, self._password = airflow, password
        self._session = requests.Session()
        self._session.trust_env = False

    def answer(self, host: str, path: str, request: dict[str, Any]) -> Answer:
        _, kind, name = path.split("/", 2)
        if name != NAME:
            return 404, "ResourceNotFoundException", {"message": "Environment not found"}
        if host.startswith("api.") and kind == "environments":
            return 200, "", {"Environment": self.environment}
        if host.startswith("env.") and kind == "restapi":
            return self.refusals.pop(0) if self.refusals else self._invoke(request)
        return 404, "UnknownOperationException", {"message": f"{host} {path}"}

    def _invoke(self, request: dict[str, Any]) -> Answer:
        method, path = request["Method"], request["Path"]
        self.calls.append((method, path))
        if len(path) > LONGEST_PATH:
            return 400, "ValidationException", {"message": "path must have length less than or equal to 64"}
        token = self._session.post(
            f"{self._airflow}/auth/token", json={"username": "admin", "password": self._password}, timeout=TIMEOUT_S
        ).json()["access_token"]
        response = self._session.request(
            method,
            f"{self._airflow}/api/v2{path}",
            params=request.get("QueryParameters"),
            json=request.get("Body"),
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
        )
        assert len(response.content) < LARGEST
        body = {"RestApiStatusCode": response.status_code, "RestApiResponse": response.json()}
        if response.ok:
            return 200, "", body
        return 400, "RestApiServerException" if response.status_code >= 500 else "RestApiClientException", body


class Resting(MwaaApi):
    """An Airflow in which no run is running, of any environment."""

    def __init__(self) -> None:
        super().__init__()
        self.paused: list[bool] = []

    def answer(self, host: str, path: str, request: dict[str, Any]) -> Answer:
        return super().answer(host, f"{path.rsplit('/', 1)[0]}/{NAME}", request)

    def _invoke(self, request: dict[str, Any]) -> Answer:
        if request["Method"] == "PATCH":
            self.paused.append(request["Body"]["is_paused"])
        body = {"is_paused": self.paused[-1:] == [True], "dag_runs": []}
        return 200, "", {"RestApiStatusCode": 200, "RestApiResponse": body}


@contextmanager
def serving(api: MwaaApi) -> Iterator[dict[str, str]]:
    """The environment variables that lead AWS clients to a server that answers for `api`."""
    with serving_json(api.answer) as proxy:
        yield {"AWS_ENDPOINT_URL_MWAA": "http://mwaa.test", "HTTP_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost"}
