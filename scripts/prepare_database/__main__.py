"""The command line of the preparation."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from scripts.aws import AwsError, client, explain
from scripts.mwaa import Mwaa, MwaaError
from scripts.prepare_database.data_api import DataApiDatabase
from scripts.prepare_database.direct import DirectDatabase
from scripts.prepare_database.preparation import Wanted, prepare
from scripts.prepare_database.report import Report
from scripts.prepare_database.sessions import Database, Login, PreparationError
from scripts.terraform import Outputs, Terraform, TerraformError

NAMESPACES = ("canvas", "canvas_logs", "catalog", "new_quizzes")
DSN_VARIABLE = "CD2_ADMIN_DSN"

EXAMPLES = f"""\
After `terraform apply`, through the RDS Data API:
  python -m scripts.prepare_database --environment dev
With your own database (the DSN of its administrator in {DSN_VARIABLE}, or in a file):
  python -m scripts.prepare_database --environment dev --dsn-file FILE
Without AWS:
  python -m scripts.prepare_database --dsn-file FILE --secret-file FILE
"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="prepare_database",
        description="Give a database what the replication needs: its user, rights and schemas. Idempotent.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("which database")
    where.add_argument("--environment", metavar="ENV", help="dev, stg or prod: read the following from Terraform")
    where.add_argument("--outputs", type=Path, metavar="FILE", help="the same, from a file of `terraform output -json`")
    where.add_argument("--region", help="AWS region of cluster and secrets")
    where.add_argument("--cluster", metavar="ARN", help="the Aurora cluster, for the Data API")
    where.add_argument("--admin-secret", metavar="ARN", help="the secret of its administrator")
    where.add_argument("--database", help="its name")
    where.add_argument("--dsn", help="connect with this DSN instead (without password: from PGPASSWORD or .pgpass)")
    where.add_argument("--dsn-file", type=Path, metavar="FILE", help=f"the same, with password; or set {DSN_VARIABLE}")
    who = parser.add_argument_group("the replication user")
    who.add_argument("--secret", metavar="NAME", help="Secrets Manager: host, port, dbname, username, password")
    who.add_argument("--secret-file", type=Path, metavar="FILE", help="the same JSON in a file")
    what = parser.add_argument_group("what to set up")
    what.add_argument("--namespaces", help="comma-separated (default: those of the MWAA environment, or canvas)")
    what.add_argument(
        "--reader", metavar="ROLE", help="a role that may read all tables, including future ones, and cd2.freshness"
    )
    what.add_argument("--member-of", action="append", default=[], metavar="ROLE", help="owner of views on the tables")
    what.add_argument("--set-password", action="store_true", help="set the password even if it is correct")
    what.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    return parser.parse_args(argv)


def run(given: argparse.Namespace) -> Report:
    """Prepare the database that the arguments describe.

    :raises PreparationError, AwsError, MwaaError, TerraformError: it failed; says why, and what to do.
    """
    if outputs := _outputs(given):
        fill_in(given, outputs)
    login = _login(given)
    database = _database(given)
    report = Report(given.dry_run)
    print(f"Preparing {database.name} for {login.username}{' (dry run)' if given.dry_run else ''}", flush=True)
    namespaces = tuple(name.strip() for name in (given.namespaces or "canvas").split(",") if name.strip())
    if unknown := [name for name in namespaces if name not in NAMESPACES]:
        raise PreparationError(f"{', '.join(unknown)} is not a namespace; allowed are {', '.join(NAMESPACES)}.")
    wanted = Wanted(login, namespaces, given.reader or None, tuple(given.member_of), given.set_password)
    prepare(database, wanted, report)
    print(report.summary)
    return report


def _outputs(given: argparse.Namespace) -> Outputs | None:
    if given.outputs:
        return Outputs.from_json(_text(given.outputs))
    return Terraform(given.environment).opened_outputs() if given.environment else None


def fill_in(given: argparse.Namespace, outputs: Outputs) -> None:
    """Fill in missing arguments from the deployment.

    :raises MwaaError, AwsError: the environment's namespaces cannot be read.
    """
    if not given.namespaces:
        given.namespaces = Mwaa(outputs.mwaa_environment_name, outputs.region).environment().namespaces
    given.region = given.region or outputs.region
    given.cluster = given.cluster or outputs.database_cluster_arn
    given.admin_secret = given.admin_secret or outputs.database_admin_secret_arn
    given.database = given.database or outputs.database_name
    if not given.secret_file:
        given.secret = given.secret or outputs.replication_secret_arn


def _login(given: argparse.Namespace) -> Login:
    if given.secret_file:
        return Login.from_json(_text(given.secret_file), str(given.secret_file))
    if not given.secret:
        raise PreparationError("Name the secret of the replication user with --environment, --secret or --secret-file.")
    try:
        answer = client("secretsmanager", given.region).get_secret_value(SecretId=given.secret)
    except (ClientError, BotoCoreError) as error:
        failure = explain(error, f"Reading the secret {given.secret}")
    else:
        login = Login.from_json(answer.get("SecretString", ""), f"The secret {given.secret}")
        given.secret = answer["ARN"]  # the Data API accepts no short name
        return login
    raise failure


def _database(given: argparse.Namespace) -> Database:
    if dsn := _dsn(given):
        return DirectDatabase(dsn)
    lacking = {"--cluster": given.cluster, "--admin-secret": given.admin_secret, "--database": given.database}
    if missing := [name for name, value in lacking.items() if not value]:
        raise PreparationError(
            f"Which database? The Data API needs {', '.join(missing)} (--environment reads them from Terraform); for "
            f"your own database, set {DSN_VARIABLE} to its administrator's DSN, or use --dsn-file."
        )
    if given.secret_file:
        raise PreparationError(
            "For the Data API the replication user's secret must be in Secrets Manager: use --secret."
        )
    return DataApiDatabase(given.cluster, given.admin_secret, given.secret, given.database, given.region)


def _dsn(given: argparse.Namespace) -> str | None:
    if given.dsn:
        try:
            has_password = "password" in conninfo_to_dict(given.dsn)
        except ProgrammingError:
            has_password = bool(re.search(r"://[^/@\s]*:[^/@\s]+@|password", given.dsn))
        if has_password:
            raise PreparationError(
                "A password in an argument is visible to everybody on this machine (ps): put the DSN into the "
                f"variable {DSN_VARIABLE} or a file (--dsn-file), or the password into PGPASSWORD or .pgpass."
            )
        return str(given.dsn)
    if given.dsn_file:
        return _text(given.dsn_file).strip()
    return os.environ.get(DSN_VARIABLE)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as problem:
        raise PreparationError(f"{path} cannot be read: {problem.strerror}.") from None


def main(argv: list[str] | None = None) -> None:
    """Prepare the database that the arguments describe (`make prepare-database`)."""
    given = arguments(argv)
    try:
        run(given)
    except (PreparationError, AwsError, MwaaError, TerraformError) as problem:
        sys.exit(f"prepare_database: {problem}")
    except KeyboardInterrupt:
        sys.exit("prepare_database: stopped; run it again to complete it.")


if __name__ == "__main__":
    main()
