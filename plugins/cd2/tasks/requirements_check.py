"""Whether the packages of requirements.txt are installed: MWAA only logs a failed install, and starts anyway."""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version

from cd2.replication.errors import StopAll

REQUIRED = {"instructure-dap-client": "2.3.1", "aiohttp": "3.13.4", "asyncpg": "0.31.0"}
"""The packages that the replication uses, at the tested versions. The client depends on pysqlsync."""
MODULES = ("dap.api", "dap.replicator.meta_schema", "pysqlsync.dialect.postgresql.generator", "asyncpg")


def check() -> None:
    """Check that the packages are installed at the right versions and can be imported.

    :raises StopAll: they are not; says where MWAA logged why.
    """
    if problem := _wrong_version() or _not_importable():
        raise StopAll(
            f"The Python packages of this worker are not those of requirements.txt ({problem}): their installation "
            f"failed, or another requirements.txt was installed. {_where_to_look()} The usual cause: the constraints "
            "file that requirements.txt names was not in the dags folder when the environment started. Put it there "
            "(make deploy does), update the environment, and clear this task.",
            cause="MissingRequirements",
        )


def _wrong_version() -> str | None:
    problems = []
    for name, wanted in REQUIRED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            problems.append(f"{name} is missing")
        else:
            if found != wanted:
                problems.append(f"{name} is {found} instead of {wanted}")
    return ", ".join(problems) or None


def _not_importable() -> str | None:
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a half-installed package can raise anything
            return f"{name} cannot be imported, {type(error).__name__}: {error}"
    return None


def _where_to_look() -> str:
    # MWAA sets it in all its containers.
    if name := os.environ.get("AIRFLOW_ENV_NAME"):
        return f"See the CloudWatch log group airflow-{name}-Worker, log streams requirements_install*."
    return "On MWAA see the log group airflow-NAME-Worker, log streams requirements_install*; here run make setup."
