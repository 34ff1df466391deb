"""Airflow plugin of Canvas Data 2: registers its page, and loads the heavy packages once per worker.

Airflow forks each task from its worker. With `core.lazy_load_plugins = False` Airflow imports this module when a worker
starts, and each task finds the DAP client already imported, which saves about 1.2 CPU-seconds. A task imports our own
modules itself (0.03 CPU-seconds), so that what a developer edits counts from the next task on.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from cd2.page.app import EXTERNAL_VIEWS, FASTAPI_APPS
from cd2.tasks.links import LINKS

WORKERS = {"scheduler", "celery"}
"""Airflow commands whose process forks tasks: the scheduler with the LocalExecutor, the Celery worker."""
PRELOADED = (
    # what the DAG file makes Airflow load
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.definitions.retry_policy",
    "airflow.sdk.definitions.timetables.interval",
    "airflow.sdk.definitions.timetables.trigger",
    "airflow.triggers.base",
    "asyncpg",
    "dap.api",
    "dap.replicator.sql_op",
    "dap.version_upgrade.db_version_upgrader",
    "pysqlsync.dialect.postgresql.connection",
    "pysqlsync.dialect.postgresql.discovery",
    "pysqlsync.dialect.postgresql.generator",
    "pysqlsync.dialect.postgresql.mutation",
    "airflow.providers.amazon.aws.hooks.secrets_manager",
    "airflow.providers.amazon.aws.hooks.sns",
    "airflow.providers.amazon.aws.hooks.ssm",
)


class Cd2Plugin(AirflowPlugin):
    """The page; and listed in Admin -> Plugins, so that people see that the code is installed."""

    name = "cd2"
    operator_extra_links = list(LINKS)  # noqa: RUF012 - Airflow's own form
    fastapi_apps = FASTAPI_APPS
    external_views = EXTERNAL_VIEWS


if not conf.getboolean("core", "lazy_load_plugins") and WORKERS & set(sys.argv[1:]):
    for module in PRELOADED:
        # prepare_database reports missing packages, where people see it.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
