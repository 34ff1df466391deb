"""Terraform for the scripts: find it, run it, read its outputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scripts.plans import Plan

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("CD2_TERRAFORM_FOLDER") or ROOT / "infra" / "terraform")  # tests point it elsewhere
ENVIRONMENTS = ("dev", "stg", "prod")
OLDEST = (1, 11)
"""The first version with write-only arguments, which keep secrets out of the state."""


class TerraformError(Exception):
    """What is wrong, and what to do.

    :param said: what Terraform wrote to its standard error, if it ran.
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class NothingDeployed(TerraformError):
    """The state has no outputs: nothing is deployed, or a deployment or destruction was interrupted."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of a deployment. The ARNs of the cluster are empty if you use your own database."""

    region: str
    environment: str
    mwaa_environment_name: str
    webserver_url: str
    bucket_name: str
    execution_role_arn: str
    sns_topic_arn: str
    kms_key_arn: str
    database_cluster_arn: str
    database_admin_secret_arn: str
    database_name: str
    replication_secret_arn: str
    dap_parameter_names: tuple[str, ...]

    @property
    def database_identifier(self) -> str:
        """Identifier of the Aurora cluster; empty if you use your own database."""
        return self.database_cluster_arn.rsplit(":", 1)[-1]

    @classmethod
    def from_json(cls, text: str) -> Outputs:
        """Read `terraform output -json`.

        :raises TerraformError: outputs of a complete deployment are missing.
        """
        try:
            given = {name: output["value"] for name, output in json.loads(text).items()}
        except (ValueError, AttributeError, KeyError, TypeError):
            raise TerraformError(
                "This is not the output of `terraform output -json`: give the file with that output."
            ) from None
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in given and not name.startswith("database_")]:
            raise NothingDeployed(
                f"Terraform's state has no {', '.join(missing)}: nothing is deployed from here yet, or a deployment "
                "was interrupted. `make deploy ENV=...` creates or completes it."
            )
        values: dict[str, Any] = {name: given.get(name) or "" for name in names}
        parameters = given["dap_parameter_names"]
        values["dap_parameter_names"] = tuple(parameters.values() if isinstance(parameters, dict) else parameters)
        return cls(**values)


class Terraform:
    """Terraform for one environment.

    :param environment: dev, stg or prod; each has its own state.
    :param folder: of the root module.
    :raises TerraformError: the environment is unknown.
    """

    def __init__(self, environment: str, folder: Path = FOLDER) -> None:
        if environment not in ENVIRONMENTS:
            raise TerraformError(f"ENV={environment} is not an environment: use ENV={' or ENV='.join(ENVIRONMENTS)}.")
        self.environment = environment
        self.folder = folder
        self.program = os.environ.get("TERRAFORM") or "terraform"
        self.variables = folder / "environments" / f"{environment}.tfvars"
        if not self.variables.is_file():
            raise TerraformError(f"{self.variables} is missing: it holds the settings of {environment}.")

    def check(self) -> str:
        """The version of Terraform.

        :raises TerraformError: Terraform is missing or too old.
        """
        if not shutil.which(self.program):
            raise TerraformError(
                f"The program {self.program} was not found: install Terraform {OLDEST[0]}.{OLDEST[1]} or newer "
                "(developer.hashicorp.com/terraform/install), or give its path with TERRAFORM=/path."
            )
        answer = self._captured("version", "-json")
        found = re.search(r'"terraform_version": *"((\d+)\.(\d+)[^"]*)"', answer)
        if not found:
            raise TerraformError(f"{self.program} does not print its version: is it Terraform?")
        if (int(found[2]), int(found[3])) < OLDEST:
            raise TerraformError(
                f"Terraform {found[1]} is too old: {OLDEST[0]}.{OLDEST[1]} or newer keeps secrets out of its state."
            )
        return found[1]

    def initialize(self) -> None:
        """Fetch providers and open the environment's state."""
        for arguments in self._initialization():
            self.run(*arguments)

    def _initialization(self) -> list[list[str]]:
        init = ["init", "-input=false", "-reconfigure"]
        if (self.folder / "backend.tf").is_file():
            if not self.backend.is_file():
                raise TerraformError(
                    f"{self.backend} is missing: with backend.tf the state is elsewhere, and that file says where the "
                    f"state of {self.environment} is (see backend.tf.example)."
                )
            return [[*init, f"-backend-config={self.backend}"]]
        # Beside the code: a workspace for each environment.
        return [init, ["workspace", "select", "-or-create", self.environment]]

    @property
    def backend(self) -> Path:
        """The environment's file that says where the state is, if not beside the code."""
        return self.folder / "environments" / f"{self.environment}.s3.tfbackend"

    def plan(self, target: Path, *, destroy: bool = False) -> bool:
        """Show and save a plan.

        :param target: the file to write.
        :returns: whether it changes anything.
        """
        arguments = ["plan", "-input=false", "-detailed-exitcode", f"-var-file={self.variables}", f"-out={target}"]
        return self.run(*arguments, *(["-destroy"] if destroy else []), accepted=(0, 2)) == 2

    def planned(self, plan: Path) -> Plan:
        """What a saved plan says.

        :raises TerraformError: the file is not a plan of this configuration.
        """
        return Plan(json.loads(self._captured("show", "-json", str(plan))))

    def apply(self, plan: Path) -> None:
        """Apply a plan."""
        self.run("apply", "-input=false", str(plan))

    def forget(self, *addresses: str) -> None:
        """Take resources out of the state: they stay in AWS, and Terraform no longer knows them."""
        self.run("state", "rm", *addresses)

    def outputs(self) -> Outputs:
        """The outputs of what is deployed.

        :raises TerraformError: nothing is deployed.
        """
        outputs = Outputs.from_json(self._captured("output", "-json"))
        if outputs.environment != self.environment:
            raise TerraformError(
                f"Terraform's state is that of {outputs.environment}, not of {self.environment}: "
                f"{self.backend.name} or backend.tf points to the wrong one."
            )
        return outputs

    def opened_outputs(self) -> Outputs:
        """The same, after selecting the environment's state: the last command may have used another one.

        :raises TerraformError: nothing is deployed.
        """
        self.check()
        for arguments in self._initialization():
            self._captured(*arguments)
        return self.outputs()

    def run(self, *arguments: str, accepted: tuple[int, ...] = (0,)) -> int:
        """Run a command in the foreground; returns its exit code.

        :raises TerraformError: it failed; Terraform has printed why.
        :raises KeyboardInterrupt: only after Terraform has stopped: it gets the signal, too, and saves its state.
        """
        plain = [] if sys.stdout.isatty() else ["-no-color"]
        # Otherwise it would suggest its own commands as the next step.
        environment = os.environ | {"TF_IN_AUTOMATION": "1"}
        command = [self.program, f"-chdir={self.folder}", *self._with(arguments, plain)]
        said: list[str] = []
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                _copy(process, said)
            except KeyboardInterrupt:
                _copy(process, said)
                process.wait()
                raise
        if process.returncode not in accepted:
            raise TerraformError(f"`terraform {arguments[0]}` failed: see Terraform's messages above.", "".join(said))
        return process.returncode

    @staticmethod
    def _with(arguments: tuple[str, ...], options: list[str]) -> list[str]:
        """Options must precede positional arguments."""
        words = 2 if arguments[0] in ("workspace", "state") else 1
        return [*arguments[:words], *options, *arguments[words:]]

    def _captured(self, *arguments: str) -> str:
        command = [self.program, f"-chdir={self.folder}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[0]
            raise TerraformError(f"`terraform {arguments[0]}` failed: {reason}")
        return done.stdout


def _copy(process: subprocess.Popen[str], said: list[str]) -> None:
    """Pass on what a process writes to its standard error, and keep it."""
    for line in process.stderr or ():
        sys.stderr.write(line)
        sys.stderr.flush()
        said.append(line)
