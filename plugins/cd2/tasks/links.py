"""Where people find things in Airflow: buttons beside a table's task, the assets, the addresses of run and page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from cd2.replication.names import TableName


class DapJobLink(BaseOperatorLink):
    """The URL of the DAP job that delivered the table's rows: Instructure's support asks for it.

    Airflow calls this when the task ends, in its process. Opening the URL requires the DAP key.
    """

    name = "DAP job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        return str(getattr(operator, "job_url", "") or "")


class TableLogLink(BaseOperatorLink):
    """The log of the try that ended."""

    name = "Log of this table"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        instance: Any = ti_key  # the running task instance, which knows its URL
        return str(getattr(instance, "log_url", ""))


LINKS = (DapJobLink(), TableLogLink())
CHANGES = AssetAlias("canvas_data_2")
"""The outlet of the table tasks: each adds its own table's asset."""
UP_TO_DATE = Asset(name="Canvas Data 2 is up to date", uri="x-cd2://up_to_date")
"""The outlet of `notify`: a run that was about all tables has brought every one up to date.

Airflow asks its providers about other schemes than `x-`, which loads boto3 at each parse of the DAG file.

Airflow 3.3.1 lists it from the start. It hides the tables' own assets until a DAG is scheduled on them, because it
knows them only by the alias; which tables there are is not known when the DAG file is parsed.
"""


def asset_of(table: TableName) -> Asset:
    """The asset of a table; other DAGs can be scheduled on it."""
    return Asset(name=str(table), uri=f"cd2://{table.namespace}/{table.table}")


def run_url(dag_id: str, run_id: str) -> str:
    """The address of a run in Airflow."""
    return f"{_airflow()}/dags/{dag_id}/runs/{quote(run_id)}"


def page_url() -> str:
    """The address of the page "Canvas Data"; Airflow keeps its navigation around it."""
    return f"{_airflow()}/plugin/canvas-data"


def _airflow() -> str:
    return str(conf.get("api", "base_url", fallback="http://localhost:8080/")).rstrip("/")
