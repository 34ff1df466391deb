"""Terraform without AWS: plans and applies of infra/terraform with the offline provider, and what they say.

The provider of the tool `../shared/terraform-offline/tf` has the AWS provider's schema and nothing behind it. It makes
up what only AWS knows, and does not do the checks that the AWS provider does in its own code. The rest is the real
Terraform.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from scripts.compile_constraints import ROOT

FOLDER = ROOT / "infra" / "terraform"
TOOL = ROOT.parent / "shared" / "terraform-offline" / "tf"
ANALYTICS_SCHEMA = Path(__file__).with_name("analytics_schema.json")
"""The resource types of modules/analytics, which the offline provider's own schema lacks; the file names its source."""
A_KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
PLUGIN_COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
"""By which a provider knows that Terraform's protocol is expected: the same for all providers."""
WHILE_STARTED = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
runpy.run_path(sys.argv[1], run_name="__main__")
"""
"""Runs a program that ends with whoever has started it, even if that is killed."""
NOT_COPIED = shutil.ignore_patterns("backend.tf", ".terraform*", "*.tfstate*", "__pycache__")
LESS_COLLECTION = "400"
"""For Terraform, which is written in Go: its short life is a quarter shorter if it collects less garbage."""
WITHOUT_TOOL = "needs the offline provider beside the checkout (../shared/terraform-offline/tf)"
WITHOUT_TERRAFORM = (
    "There is no terraform on PATH: install Terraform 1.11 or newer (developer.hashicorp.com/terraform/install); "
    "infra/terraform cannot be tested without it."
)


def need_terraform() -> str:
    """The path of Terraform; without it the test fails, with a sentence."""
    program = shutil.which("terraform")
    if program is None:
        pytest.fail(WITHOUT_TERRAFORM, pytrace=False)
    return program


def need_offline_tool() -> Path:
    """The offline tool; without it the test is skipped: AWS's own provider plans nothing without an account."""
    need_terraform()
    if not TOOL.is_file():
        pytest.skip(WITHOUT_TOOL)
    return TOOL


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would reach AWS or change Terraform."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_VAR", "TF_CLI", "AWS_"))}
    return kept | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "GOGC": LESS_COLLECTION} | more


@dataclass(frozen=True)
class Done:
    """How a run of Terraform ended. `said` is all of its output, with the boxes of its messages taken away."""

    code: int
    said: str

    def check(self) -> str:
        assert self.code == 0, self.said
        return self.said


class Workspace:
    """A copy of the code in a folder of its own, with a state. Any dags and package may be put there.

    :param folder: empty or new.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root_module = folder / "infra" / "terraform"
        self.dags = folder / "dags"
        self.package = folder / "dist"
        self.state = folder / "terraform.tfstate"
        self.plan_file = folder / "plan"
        shutil.copytree(FOLDER, self.root_module, ignore=NOT_COPIED)
        shutil.copytree(ROOT / "dags", self.dags, ignore=NOT_COPIED)
        shutil.copytree(FOLDER / "tests" / "package", self.package)
        self._initialized: dict[str, str] = {}

    def run(self, command: str, *arguments: str, **environment: str) -> Done:
        """One command of Terraform, with the offline provider."""
        # Terraform wants to be told which modules there are.
        configuration = {path.name: path.read_text() for path in self.root_module.glob("*.tf")}
        if configuration != self._initialized:
            self._terraform("init", "-input=false", "-backend=false").check()
            self._initialized = configuration
        return self._terraform(command, *arguments, **environment)

    def _terraform(self, *command: str, **environment: str) -> Done:
        process = subprocess.run(
            [need_terraform(), f"-chdir={self.root_module}", command[0], "-no-color", *command[1:]],
            env=clean_environment(TF_CLI_CONFIG_FILE=os.devnull, TF_INPUT="0", **_running_provider()) | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (process.stdout + process.stderr).splitlines()
        return Done(process.returncode, "\n".join(line.lstrip("│╷╵ ") for line in lines))

    def plan(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Plan against the state of this workspace.

        :returns: the plan as Terraform writes it as JSON.
        """
        self.run("plan", f"-state={self.state}", f"-out={self.plan_file}", *arguments, **environment).check()
        shown = self.run("show", "-json", str(self.plan_file)).check()
        plan: dict[str, Any] = json.loads(next(line for line in shown.splitlines() if line.startswith("{")))
        return plan

    def apply(self, *arguments: str, **environment: str) -> str:
        """Apply; returns what Terraform said."""
        return self.run("apply", "-auto-approve", f"-state={self.state}", *arguments, **environment).check()


def provider_mirror() -> Path:
    """The offline provider as a mirror for Terraform's own settings: written by this process for this checkout.

    The mirror in the user's cache may be that of another checkout, which is gone, or be rewritten at this moment.
    """
    with tempfile.TemporaryDirectory() as empty:
        environment = clean_environment(TF_OFFLINE_CACHE=str(_own_cache()))
        subprocess.run([need_offline_tool(), empty, "version"], env=environment, capture_output=True, check=True)
    return _own_cache() / "mirror"


@functools.cache
def _own_cache() -> Path:
    """A folder for the tool to work in, of this process alone.

    Each call writes its provider there anew, while another process's Terraform may be starting it. Only what takes
    long, the provider's packages, is shared.
    """
    elsewhere = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    shared = Path(os.environ.get("TF_OFFLINE_CACHE") or Path(elsewhere) / "terraform-offline")
    with FileLock(Path(tempfile.gettempdir()) / f"cd2-terraform-offline-{os.getuid()}.lock"):
        if not (shared / "venv" / "bin" / "python").exists():
            with tempfile.TemporaryDirectory() as empty:
                subprocess.run([TOOL, empty, "version"], env=clean_environment(), capture_output=True, check=True)
    own = tempfile.TemporaryDirectory(prefix="cd2-terraform-offline-")
    atexit.register(own.cleanup)
    (Path(own.name) / "venv").symlink_to(shared / "venv")
    return Path(own.name)


@functools.cache
def schema() -> Path:
    """The offline provider's schema with the types of modules/analytics: a file for this process.

    What the offline provider knows itself, by its own file or that of STUB_SCHEMA, counts.
    """
    known: dict[str, Any] = json.loads(
        Path(os.environ.get("STUB_SCHEMA") or need_offline_tool().parent / "schema.json").read_text()
    )
    added = json.loads(ANALYTICS_SCHEMA.read_text())["resource_schemas"]
    known["resource_schemas"] = added | known["resource_schemas"]
    path = _own_cache() / "schema.json"
    path.write_text(json.dumps(known))
    return path


@contextmanager
def running_provider(program: Path, **environment: str) -> Iterator[dict[str, str]]:
    """Start a provider that serves any number of Terraform's commands, and stop it.

    Otherwise each command starts it anew, up to three times, which takes longer than what it then does.

    :param program: the provider, for the Python of the offline tool.
    :returns: the environment variables with which Terraform uses it.
    """
    python = provider_mirror().parent / "venv" / "bin" / "python"
    variables = clean_environment(TF_PLUGIN_MAGIC_COOKIE=PLUGIN_COOKIE, STUB_SCHEMA=str(schema()), **environment)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [python, "-c", WHILE_STARTED, program], env=variables, stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            assert process.stdout
            _, _, network, address, *_ = process.stdout.readline().split("|")
            where = {"Network": network, "String": address}
            serving = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": process.pid, "Test": True, "Addr": where}
            yield {"TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/aws": serving})}
        finally:
            process.terminate()


@functools.cache
def _running_provider() -> dict[str, str]:
    """The offline provider, until this process ends."""
    need_offline_tool()
    running = running_provider(TOOL.parent / "stub_provider.py")
    variables = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return variables


def variables(environment: str, /, **values: Any) -> list[str]:
    """Arguments for an environment's file of variables and more of them."""
    given = [f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]
    return [f"-var-file=environments/{environment}.tfvars", *given]


@functools.cache
def planned(environment: str, /, **values: Any) -> dict[str, Any]:
    """The plan of a new deployment, with a key that exists, so that almost everything in it is known."""
    with tempfile.TemporaryDirectory(prefix="cd2-plan-") as folder:
        return Workspace(Path(folder) / "checkout").plan(*variables(environment, **{"kms_key_arn": A_KEY} | values))


def resources(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a plan makes: its known values by address."""

    def walk(module: dict[str, Any]) -> dict[str, dict[str, Any]]:
        found = {
            each["address"]: each.get("values", {}) for each in module.get("resources", ()) if each["mode"] == "managed"
        }
        for child in module.get("child_modules", ()):
            found |= walk(child)
        return found

    return walk(plan["planned_values"]["root_module"])


def changes(plan: dict[str, Any]) -> dict[str, str]:
    """What a plan changes: `create`, `update`, `delete`, `delete/create` and so on by address."""
    return {
        each["address"]: "/".join(each["change"]["actions"])
        for each in plan.get("resource_changes", ())
        if each["mode"] == "managed" and each["change"]["actions"] != ["no-op"]
    }


def unknown(plan: dict[str, Any], address: str) -> dict[str, Any]:
    """What of a resource is known only after it was made."""
    (found,) = [each["change"]["after_unknown"] for each in plan["resource_changes"] if each["address"] == address]
    return dict(found)


def planned_role_policy(environment: str) -> dict[str, Any]:
    """The policy of the execution role as it is planned.

    Region us-east-1 and account 123456789012 are the offline provider's, the key is `A_KEY`; all names are ours.
    """
    policy: dict[str, Any] = json.loads(
        resources(planned(environment))["module.environment.aws_iam_role_policy.this[0]"]["policy"]
    )
    return policy
