"""Deploy an environment: package, plan, confirm, apply, prepare the database, and do a first dry run.

    python -m scripts.deploy --environment dev [--yes]

Every step can be repeated; the next deployment completes an interrupted one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from scripts import dap_key, package, smoke
from scripts.aws import AwsError, client, explain
from scripts.mwaa import Mwaa, MwaaError
from scripts.prepare_database.__main__ import DSN_VARIABLE, fill_in
from scripts.prepare_database.__main__ import arguments as preparation_arguments
from scripts.prepare_database.__main__ import run as prepare_database
from scripts.prepare_database.sessions import PreparationError
from scripts.terraform import Outputs, Terraform, TerraformError

PROBLEMS = (AwsError, TerraformError, MwaaError, PreparationError, package.PackagingError)


class Stopped(Exception):
    """Nothing failed, but a person must act first: why, and what to do."""


def identity() -> str:
    """The AWS identity of the credentials.

    :raises AwsError: there are no valid credentials.
    """
    try:
        caller = client("sts", os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")
        return str(caller.get_caller_identity()["Arn"])
    except (ClientError, BotoCoreError) as error:
        failure = explain(error, "Asking AWS who you are")
    raise failure


def confirm(question: str, expected: str, given: str | None) -> None:
    """Continue only if a person confirms.

    :param expected: the word to type.
    :param given: the word given in advance (YES=...), or None.
    :raises Stopped: it was not confirmed.
    """
    if given is not None:
        if given == expected:
            return
        raise Stopped(f"YES={given} does not confirm this: it must be YES={expected}. Nothing was changed.")
    if not sys.stdin.isatty():
        raise Stopped(
            f"there is no terminal to confirm on: check the plan above, and run this again with YES={expected}."
        )
    if input(f"{question} Type {expected!r} to continue: ").strip() != expected:
        raise Stopped("not confirmed; nothing was changed.")


class Deployment:
    """The deployment of one environment."""

    def __init__(self, terraform: Terraform, yes: str | None) -> None:
        self._terraform, self._yes = terraform, yes
        self._step = 0

    def run(self) -> None:
        """Run all steps.

        :raises Stopped: a person must act first.
        """
        version = self._terraform.check()
        self.step(f"deploying {self._terraform.environment} as {identity()}, with Terraform {version}")
        self.step("packaging")
        built = package.build()
        print(f"{len(built.files)} files in plugins.zip, sha256 {built.digests['plugins.zip'][:16]}")
        self._apply()
        outputs = self._terraform.outputs()
        prepared = self._prepare_database(outputs)
        self._first_run(outputs, prepared)

    def step(self, what: str) -> None:
        """Announce the next step."""
        self._step += 1
        print(f"\n== {self._step}. {what}", flush=True)

    def _apply(self) -> None:
        self.step("terraform init and plan")
        self._terraform.initialize()
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder, "plan")
            if not self._terraform.plan(plan):
                print("Nothing to change in AWS.")
                return
            confirm("Make these changes?", "1", self._yes)
            self.step("terraform apply (a new MWAA environment takes 20 to 30 minutes, an update 10 to 30)")
            self._terraform.apply(plan)

    def _prepare_database(self, outputs: Outputs) -> bool:
        self.step("preparing the database")
        if not outputs.database_cluster_arn and not os.environ.get(DSN_VARIABLE):
            print(
                "This is your own database. On a machine that can reach it, set "
                f"{DSN_VARIABLE} to its administrator's DSN and run: make prepare-database ENV={outputs.environment}"
            )
            return False
        given = preparation_arguments([])
        fill_in(given, outputs)
        prepare_database(given)
        return True

    def _first_run(self, outputs: Outputs, prepared: bool) -> None:
        self.step("a first dry run")
        if lacking := dap_key.missing(outputs):
            raise Stopped(
                f"the DAP key is not set yet ({', '.join(lacking)}). Set it with `make dap-key "
                f"ENV={outputs.environment}`, then run `make smoke ENV={outputs.environment} ARGS=--unpause`: if "
                "everything works, it unpauses the DAG."
            )
        if not prepared:
            raise Stopped(f"prepare the database first, then `make smoke ENV={outputs.environment} ARGS=--unpause`.")
        outcome = smoke.Smoke(self._environment(outputs), unpause=True).run()
        if not smoke.report(outcome, outputs.mwaa_environment_name):
            raise MwaaError("the dry run failed; do what the sentences above say, then `make smoke`.")
        print(f"\n{outputs.environment} is deployed, and the DAG runs every three hours: {outputs.webserver_url}")

    @staticmethod
    def _environment(outputs: Outputs) -> Mwaa:
        return Mwaa(outputs.mwaa_environment_name, outputs.region)


def main(argv: list[str] | None = None) -> None:
    """Deploy an environment, step by step (`make deploy`)."""
    parser = argparse.ArgumentParser(prog="deploy", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--environment", metavar="ENV", default="", help="dev, stg or prod")
    parser.add_argument("--yes", metavar="1", help="confirm in advance (YES=1), without a terminal")
    given = parser.parse_args(argv)
    try:
        Deployment(Terraform(given.environment), given.yes or os.environ.get("YES") or None).run()
    except PROBLEMS as problem:
        sys.exit(f"deploy: {problem}")
    except Stopped as why:
        sys.exit(f"deploy: {why}")
    except KeyboardInterrupt:
        sys.exit("deploy: stopped; run it again to complete it.")


if __name__ == "__main__":
    main()
