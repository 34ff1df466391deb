"""Deploy an environment: package, plan, confirm, apply, prepare the database, and do a first dry run.

    python -m scripts.deploy --environment dev [--yes 1] [--plan-only | --plan FILE]

Every step can be repeated; the next deployment completes an interrupted one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from scripts import buckets, checks, dap_key, leftovers, package, pausing, reviewed, smoke
from scripts.aws import AwsError, client, configured_region, explain
from scripts.mwaa import Mwaa, MwaaError
from scripts.plans import Plan
from scripts.prepare_database.__main__ import DSN_VARIABLE, fill_in
from scripts.prepare_database.__main__ import arguments as preparation_arguments
from scripts.prepare_database.__main__ import run as prepare_database
from scripts.prepare_database.sessions import PreparationError
from scripts.terraform import Outputs, Terraform, TerraformError

PROBLEMS = (
    AwsError,
    TerraformError,
    MwaaError,
    PreparationError,
    package.PackagingError,
    leftovers.LeftoverError,
    buckets.BucketError,
    reviewed.PlanError,
    checks.CheckError,
)


ENVIRONMENT = "aws_mwaa_environment"


class Stopped(Exception):
    """Nothing failed, but a person must act first: why, and what to do."""


def identity() -> str:
    """The AWS identity of the credentials.

    :raises AwsError: there are no valid credentials.
    """
    try:
        # In China and GovCloud, credentials are known only there.
        caller = client("sts", configured_region() or "us-east-1")
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


@dataclass(frozen=True)
class Choices:
    """How to deploy.

    :param yes: the confirmation that was given in advance.
    :param wait_minutes: for a run that is running before MWAA is updated; 0: its tasks are stopped.
    :param plan_only: write the plan and its summary for a review, and stop.
    :param reviewed: apply this plan, which was reviewed.
    """

    yes: str | None = None
    wait_minutes: float = pausing.WAIT_MINUTES
    plan_only: bool = False
    reviewed: Path | None = None


class Deployment:
    """The deployment of one environment."""

    def __init__(self, terraform: Terraform, choices: Choices) -> None:
        self._terraform, self._choices = terraform, choices
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
        if self._choices.plan_only:
            self._plan_only()
            return
        if self._choices.reviewed:
            self.step(f"terraform init, and the plan {self._choices.reviewed}")
            self._terraform.initialize()
            self._apply(self._choices.reviewed, reviewed.check(self._terraform, self._choices.reviewed))
        else:
            self._plan_and_apply()
        outputs = self._terraform.outputs()
        prepared = self._prepare_database(outputs)
        self._first_run(outputs, prepared)

    def step(self, what: str) -> None:
        """Announce the next step."""
        self._step += 1
        print(f"\n== {self._step}. {what}", flush=True)

    def _plan_only(self) -> None:
        self.step("terraform init and plan")
        self._terraform.initialize()
        environment = self._terraform.environment
        file, overview = reviewed.plan_file(environment), reviewed.summary_file(environment)
        self._plan(file)
        overview.write_text(reviewed.summary(environment, self._terraform.planned(file)))
        shown, summary = file.relative_to(package.ROOT), overview.relative_to(package.ROOT)  # where make is run
        print(
            f"The plan is in {shown}, a summary in {summary}. Nothing was changed. `make deploy ENV={environment} "
            f"PLAN={shown}` applies exactly this plan, from the same commit and state."
        )

    def _plan_and_apply(self) -> None:
        self.step("terraform init and plan")
        self._terraform.initialize()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "plan")
            if not self._plan(file):
                print("Nothing to change in AWS.")
                return
            confirm("Make these changes?", "1", self._choices.yes)
            self._apply(file, self._terraform.planned(file))

    def _apply(self, file: Path, plan: Plan) -> None:
        self.step("terraform apply (a new MWAA environment takes 20 to 30 minutes, an update 10 to 30)")
        with self._resting(plan):
            self._terraform.apply(file)

    def _resting(self, plan: Plan) -> AbstractContextManager[None]:
        """While the environment is updated, no task runs."""
        for environment in (*plan.of_kind(ENVIRONMENT, "update"), *plan.of_kind(ENVIRONMENT, "delete")):
            mwaa = Mwaa(environment.before["name"], plan.output("region"))
            return pausing.paused(mwaa, self._choices.wait_minutes)
        return nullcontext()

    def _plan(self, file: Path) -> bool:
        """Plan, and adopt what an earlier deployment left behind; returns whether anything changes."""
        leftovers.forget(self._terraform.folder)
        if not self._terraform.plan(file):
            return False
        plan = self._terraform.planned(file)
        region = plan.output("region")
        checks.certificates(plan, region, self._terraform.folder)
        checks.database_version(plan)
        if own_bucket := plan.variable("bucket_name"):
            buckets.check(own_bucket, region)
        found = leftovers.find(plan, region)
        if found:
            print("An earlier deployment left these behind; they are adopted, not created:")
            print("\n".join(f"  - {each.what}" for each in found), flush=True)
            if self._choices.plan_only and any(each.deleted for each in found):
                raise Stopped(leftovers.HOW_TO_RESTORE.format(", ".join(e.identity for e in found if e.deleted)))
            leftovers.restore(found, region)
            with leftovers.adopting(self._terraform.folder, found):
                return self._terraform.plan(file)
        return True

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
    parser.add_argument(
        "--wait",
        metavar="MINUTES",
        default=os.environ.get("WAIT") or str(pausing.WAIT_MINUTES),
        help="for a running run, before MWAA is updated (WAIT=, default %(default)s; 0: stop its tasks)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--plan-only",
        action="store_true",
        default=bool(os.environ.get("PLAN_ONLY")),
        help="write plan and summary to dist/, and stop (PLAN_ONLY=1)",
    )
    how.add_argument(
        "--plan",
        metavar="FILE",
        type=lambda text: Path(text).resolve(),
        default=os.environ.get("PLAN") or None,
        help="apply exactly this plan (PLAN=)",
    )
    given = parser.parse_args(argv)
    if not given.wait.isdecimal():
        parser.error(f"WAIT={given.wait} must be a whole number of minutes")
    if given.plan_only and given.plan:
        parser.error("PLAN_ONLY=1 writes a plan and PLAN=FILE applies one: give one of them")
    choices = Choices(given.yes or os.environ.get("YES") or None, int(given.wait), given.plan_only, given.plan)
    try:
        Deployment(Terraform(given.environment), choices).run()
    except PROBLEMS as problem:
        sys.exit(f"deploy: {problem}")
    except Stopped as why:
        sys.exit(f"deploy: {why}")
    except KeyboardInterrupt:
        sys.exit("deploy: stopped; run it again to complete it.")


if __name__ == "__main__":
    main()
