"""Buttons beside a table's task in the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class DapJobLink(BaseOperatorLink):
    """The address of the DAP job that brought the table's rows: Instructure's support asks for it.

    Airflow asks when the task ends, in its process; the address needs the DAP key to be opened.
    """

    name = "DAP job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        return str(getattr(operator, "job_url", "") or "")


class TableLogLink(BaseOperatorLink):
    """The log of the try that ended."""

    name = "Log of this table"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        instance: Any = ti_key  # of the task that runs, which knows its address
        return str(getattr(instance, "log_url", ""))
