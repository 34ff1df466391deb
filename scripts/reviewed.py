"""Plans that somebody reviews before they are applied: written by `make deploy PLAN_ONLY=1`, applied by `PLAN=FILE`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scripts.plans import Plan
from scripts.terraform import ROOT, Terraform, TerraformError

WORDS = {
    "create": "create",
    "update": "change",
    "delete": "delete",
    "read": "read",
    "forget": "forget",
    "no-op": "keep",
}


class PlanError(Exception):
    """Why a plan is not applied, and what to do."""


def plan_file(environment: str) -> Path:
    """Where the plan of an environment is written."""
    return ROOT / "dist" / f"{environment}.tfplan"


def summary_file(environment: str) -> Path:
    """Where its summary is written."""
    return ROOT / "dist" / f"{environment}-plan.txt"


def summary(environment: str, plan: Plan) -> str:
    """The plan for a pull request or a job's page: addresses and actions, no values."""
    lines = [f"# {environment}: {len(plan.changes)} changes", ""]
    for change in plan.changes:
        what = " and ".join(WORDS[action] for action in change.actions)
        adopted = " (adopted)" if change.imported else ""
        lines.append(f"- {what}{adopted}: `{change.address}`")
    if not plan.changes:
        lines.append("Nothing to change in AWS.")
    return "\n".join(lines) + "\n"


def check(terraform: Terraform, file: Path) -> Plan:
    """A reviewed plan, if it is one of this environment and of the files of this checkout.

    :raises PlanError: it is not.
    """
    if not file.is_file():
        raise PlanError(f"PLAN={file} is missing: `make deploy ENV={terraform.environment} PLAN_ONLY=1` writes it.")
    try:
        plan = terraform.planned(file)
    except TerraformError as problem:
        raise PlanError(f"PLAN={file} is not a plan of this configuration and this provider. {problem}") from None
    if plan.variable("environment") != terraform.environment:
        raise PlanError(
            f"PLAN={file} is a plan of {plan.variable('environment') or 'something else'}, not of "
            f"{terraform.environment}: give the one that ENV={terraform.environment} made."
        )
    if changed := _other_files(terraform, plan):
        raise PlanError(
            f"PLAN={file} was made with other files than this checkout has ({', '.join(changed)}), and Terraform would "
            "upload yours. Check out the commit that was planned, or plan again."
        )
    return plan


def _other_files(terraform: Terraform, plan: Plan) -> list[str]:
    """The files to be uploaded that are not as they were when the plan was made."""
    found = []
    for upload in (*plan.of_kind("aws_s3_object", "create"), *plan.of_kind("aws_s3_object", "update")):
        path = terraform.folder / upload.after["source"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != upload.after["source_hash"]:
            found.append(str(upload.after["key"]))
    return found
