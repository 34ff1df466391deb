"""The least rights of whoever deploys: policies generated from the types of resources in infra/terraform.

    python -m scripts.deploy_policy --write      # docs/deploy-policy*.json
    python -m scripts.deploy_policy --account 123456789012 --region eu-central-1 --name canvas-data-2

`deploy_rights` has what each type needs. The partition of the ARNs (aws, aws-cn, aws-us-gov) follows from the region.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import UnknownRegionError

from scripts.deploy_rights import BESIDE_TERRAFORM, CONDITIONS, OF_TYPES, Rights

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "infra" / "terraform"
FILES = {
    "deploy": ROOT / "docs" / "deploy-policy.json",
    "database": ROOT / "docs" / "deploy-policy-database.json",
    "network": ROOT / "docs" / "deploy-policy-network.json",
    "analytics": ROOT / "docs" / "deploy-policy-analytics.json",
}
"""For every deployment; with create_database; with create_network; with modules/analytics."""
LONGEST = 6144
"""Characters without white space that IAM allows in a managed policy."""
PLACEHOLDERS = {"account": "123456789012", "region": "us-east-1", "name": "canvas-data-2"}


def types(folder: Path) -> set[str]:
    """The types of AWS resources that Terraform makes."""
    return {name for path in folder.glob("*.tf") for name in re.findall(r'(?m)^resource "(aws_\w+)"', path.read_text())}


def policy(rights: Iterable[Rights], **values: str) -> dict[str, Any]:
    """A policy of these rights, a statement for each resource and condition.

    :param values: account, region and name, instead of the placeholders.
    :raises botocore.exceptions.UnknownRegionError: a region of no partition that botocore knows.
    """
    merged: dict[tuple[str, str | None], set[str]] = {}
    for actions, resource, condition in rights:
        service, _, names = actions.partition(":")
        # Looking at anything of a service is one right: IAM allows a policy only so many characters.
        named = [re.sub(r"^Describe\w+$", "Describe*", name) if resource == "*" else name for name in names.split()]
        merged.setdefault((resource, condition), set()).update(f"{service}:{name}" for name in named)
    by_actions: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    for (resource, condition), actions_of in merged.items():
        by_actions.setdefault((tuple(sorted(actions_of)), condition), []).append(resource)
    statements = []
    for (actions_of_it, condition), resources in sorted(by_actions.items(), key=lambda item: item[0][0]):
        statement: dict[str, Any] = {"Effect": "Allow", "Action": list(actions_of_it), "Resource": sorted(resources)}
        if condition:
            statement["Condition"] = CONDITIONS[condition]
        statements.append(statement)
    text = json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)
    given = PLACEHOLDERS | values
    given["partition"] = boto3.session.Session().get_partition_for_region(given["region"])
    for name, value in given.items():
        text = text.replace(f"{{{name}}}", value)
    result: dict[str, Any] = json.loads(text)
    return result


def policies(**values: str) -> dict[str, dict[str, Any]]:
    """The policies by the names of `FILES`.

    :raises KeyError: a type of resource has no entry in `deploy_rights`.
    :raises botocore.exceptions.UnknownRegionError: a region of no partition that botocore knows.
    """
    optional = {part: types(FOLDER / "modules" / part) for part in FILES if part != "deploy"}
    others = [module for module in (FOLDER / "modules").iterdir() if module.name not in optional]
    always = types(FOLDER).union(*(types(module) for module in others))
    rights = {"deploy": [right for name in sorted(always) for right in OF_TYPES[name]] + BESIDE_TERRAFORM}
    for part, made in optional.items():
        rights[part] = [right for name in sorted(made - always) for right in OF_TYPES[name]]
    return {part: policy(needed, **values) for part, needed in rights.items()}


def main(argv: list[str] | None = None) -> None:
    """Print the policies, or write them into docs."""
    parser = argparse.ArgumentParser(prog="deploy_policy", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="into docs, with placeholders")
    for name, value in PLACEHOLDERS.items():
        parser.add_argument(f"--{name}", default=value, help=f"instead of {value}")
    given = vars(parser.parse_args(argv))
    write = given.pop("write")
    try:
        made_of = policies(**({} if write else given))
    except UnknownRegionError:
        parser.error(
            f"--region {given['region']}: no region of AWS is named so; an example is {PLACEHOLDERS['region']}"
        )
    for name, made in made_of.items():
        text = json.dumps(made, indent=2) + "\n"
        if write:
            FILES[name].write_text(text)
        else:
            print(text, end="")


if __name__ == "__main__":
    main()
