"""A deployment of infra/terraform, applied by the real Terraform with the offline provider."""

from __future__ import annotations

import json
from typing import Any

from tests.infra.plan import Workspace, variables

KEY = {"TF_VAR_dap_client_id": "us-east-1#client-id-marker", "TF_VAR_dap_client_secret": "client-secret-marker"}


class Deployment:
    """A workspace that was applied once, with a key.

    `first_plan` is the plan of that as JSON, `first_plan_file` what Terraform had written, `said` its output.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.first_plan = workspace.plan(*variables("dev"), **KEY)
        self.first_plan_file = workspace.plan_file.read_bytes()
        self.said = workspace.apply(*variables("dev"), **KEY)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.workspace.state.read_text())
        return state

    def attributes(self, module: str, resource: str) -> dict[str, Any]:
        """Of the one resource of a type in a module, as the state has them."""
        (found,) = [
            instance["attributes"]
            for each in self.state()["resources"]
            if each.get("module", "") == module and f"{each['type']}.{each['name']}" == resource
            for instance in each["instances"]
        ]
        return dict(found)
