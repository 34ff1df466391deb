"""Airflow's REST API through MWAA (`InvokeRestApi`): with AWS credentials instead of a login, from any network.

MWAA's limits: a path of at most 64 characters, a response within 10 s and of at most 6 MB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import AwsError, client, code_of, explain

DAG_ID = "canvas_data_2"
LONGEST_PATH = 64
USABLE = ("AVAILABLE", "UPDATING", "MAINTENANCE", "PENDING", "CREATING_SNAPSHOT", "UPDATE_FAILED")
"""States of an environment in which Airflow responds."""
RETRIED = {"InternalServerException", "RestApiServerException"}
RETRY_TRIES = 5
RETRY_DELAY_S = 3.0


class MwaaError(Exception):
    """What is wrong with the environment or its Airflow, and what to do."""


class RestRefused(MwaaError):
    """Airflow refused a request.

    :param status: HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Environment:
    """An environment, as MWAA describes it."""

    name: str
    status: str
    airflow_version: str
    options: dict[str, str]
    webserver: str
    last_error: str | None

    @property
    def namespaces(self) -> str:
        """As configured, comma-separated."""
        return self.options.get("cd2.namespaces") or "canvas"


class Mwaa:
    """An MWAA environment.

    :param region: None: from the caller's AWS configuration.
    """

    def __init__(self, name: str, region: str | None = None, retry_delay_s: float = RETRY_DELAY_S) -> None:
        self.name = name
        self._client = client("mwaa", region)
        self._region = self._client.meta.region_name
        self._retry_delay_s = retry_delay_s

    def environment(self) -> Environment:
        """The environment, as MWAA describes it.

        :raises MwaaError: there is no such environment.
        :raises AwsError: AWS refused.
        """
        try:
            found = self._client.get_environment(Name=self.name)["Environment"]
        except (ClientError, BotoCoreError) as error:
            failure = self._failure(error, "GetEnvironment")
        else:
            last_error = (found.get("LastUpdate") or {}).get("Error") or {}
            return Environment(
                self.name,
                found.get("Status", ""),
                found.get("AirflowVersion", ""),
                found.get("AirflowConfigurationOptions") or {},
                found.get("WebserverUrl", ""),
                last_error.get("ErrorMessage"),
            )
        raise failure

    def usable_environment(self) -> Environment:
        """The same, if its Airflow responds.

        :raises MwaaError: it is being created or deleted, or its creation failed; quotes MWAA.
        """
        found = self.environment()
        if found.status in USABLE:
            return found
        said = f" MWAA said: {found.last_error}" if found.last_error else ""
        raise MwaaError(
            f"The MWAA environment {self.name} is {found.status or 'in an unknown state'}: Airflow does not respond "
            f"yet.{said} Creating one takes 20 to 30 minutes; `aws mwaa get-environment --name {self.name}` shows its "
            "state."
        )

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, query: dict[str, Any] | None = None
    ) -> Any:
        """Call Airflow's REST API.

        :param path: below `/api/v2`.
        :returns: the response, parsed.
        :raises RestRefused: Airflow refused.
        :raises MwaaError, AwsError: it could not be reached.
        """
        if len(path) > LONGEST_PATH:
            raise ValueError(f"MWAA takes paths of at most {LONGEST_PATH} characters: {path}")
        request: dict[str, Any] = {"Name": self.name, "Method": method, "Path": path}
        request |= {"Body": body} if body is not None else {}
        request |= {"QueryParameters": query} if query else {}
        for left in reversed(range(RETRY_TRIES)):
            try:
                return self._client.invoke_rest_api(**request).get("RestApiResponse")
            except (ClientError, BotoCoreError) as error:
                if left and code_of(error) in RETRIED:
                    time.sleep(self._retry_delay_s)
                    continue
                failure = self._failure(error, f"{method} {path}")
                break
        raise failure

    def pause(self, paused: bool) -> None:
        """Pause the DAG, or unpause it.

        :raises MwaaError, AwsError: Airflow refused or could not be reached.
        """
        self.call("PATCH", f"/dags/{DAG_ID}", {"is_paused": paused}, {"update_mask": "is_paused"})

    def _failure(self, error: Exception, doing: str) -> Exception:
        code = code_of(error)
        where = f"the MWAA environment {self.name} in {self._region}"
        response: Any = error.response if isinstance(error, ClientError) else {}
        if code == "ResourceNotFoundException":
            return MwaaError(
                f"There is no {where.removeprefix('the ')}: `make deploy` creates it; or is it in another region?"
            )
        if code in ("RestApiClientException", "RestApiServerException"):
            status = int(response.get("RestApiStatusCode") or 0)
            answer = response.get("RestApiResponse")
            detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
            return RestRefused(f"Airflow of {where} refused {doing}: {status} {detail}", status)
        if code in ("AccessDeniedException", "AccessDenied"):
            return AwsError(
                f"Your AWS identity may not use {where} ({doing}): it needs airflow:GetEnvironment on the environment, "
                f"and airflow:InvokeRestApi on role/{self.name}/Op or Admin (User is not enough to trigger).",
                code,
            )
        if code == "ValidationException" and "Update your environment" in str(error):
            return MwaaError(f"MWAA says that {where} must be updated before InvokeRestApi works: `make deploy`.")
        return explain(error, f"Calling {where} ({doing})")
