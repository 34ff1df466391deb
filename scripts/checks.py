"""What a plan would make that AWS refuses half-way, or that the DAG cannot use: found before anything is changed."""

from __future__ import annotations

from pathlib import Path

from scripts import package
from scripts.plans import Plan


class CheckError(Exception):
    """What is wrong with a plan, and what to do."""


def certificates(plan: Plan, region: str, folder: Path) -> None:
    """Check that the DAG will have the authorities that it verifies the database's certificate with.

    :param folder: of the root module, which files are named from.
    :raises package.PackagingError: the shipped ones are not for this region; the file that is named is not uploaded, or
        holds something else.
    """
    settings, aurora = plan.settings, plan.has("aws_rds_cluster")
    named = settings.get("database_sslrootcert", "").strip()
    if not settings.get("database_sslmode", "verify-full").startswith("verify"):
        return
    if aurora and not named:
        package.check_region(region)
    if aurora and named == "system":
        raise package.PackagingError(
            "database_sslrootcert = system trusts public authorities, and Aurora's are Amazon's own, so the DAG would "
            "refuse to connect to the database: leave the setting out, or name a file of dags/."
        )
    file = named.removeprefix(package.MWAA_DAGS)
    if file == named:
        return
    if not (source := plan.uploaded(f"dags/{file}")):
        raise package.PackagingError(
            f"database_sslrootcert names {named}, but there is no dags/{file}, so the DAG would refuse to connect to "
            "the database: save the file there, and run this again."
        )
    package.check_authorities(folder / source, region if aurora else "")


def database_version(plan: Plan) -> None:
    """Check that Aurora goes from its version to the planned one.

    Aurora never goes back, and to a new major version only by permission (Aurora user guide: ModifyDBCluster).

    :raises CheckError: it does not.
    """
    for cluster in plan.of_kind("aws_rds_cluster", "update"):
        before, after = cluster.before.get("engine_version"), cluster.after.get("engine_version")
        if not before or not after:
            continue
        if _numbers(after) < _numbers(before):
            raise CheckError(
                f"the database has Aurora PostgreSQL {before}, and Aurora does not go back to {after}: set "
                f'database_engine_version = "{before}", or newer.'
            )
        if _numbers(after)[0] > _numbers(before)[0] and not cluster.after.get("allow_major_version_upgrade"):
            raise CheckError(
                f"from Aurora PostgreSQL {before} to {after} is an upgrade to a new major version: docs/deploy.md, "
                "*Later*, has the steps; then database_allow_major_version_upgrade = true allows it."
            )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
