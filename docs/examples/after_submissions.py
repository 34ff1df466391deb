"""Example: a DAG of your own that runs whenever the table `canvas.submissions` has changed.

Copy it into your dags folder. Each table is an Airflow asset; a run that changes the table (rows, schema, or a new
snapshot) adds an event to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow.sdk import DAG, Asset, task

SUBMISSIONS = Asset(name="canvas.submissions", uri="cd2://canvas/submissions")

with DAG("after_submissions", schedule=[SUBMISSIONS], start_date=datetime(2026, 1, 1), catchup=False):

    @task
    def build_report(triggering_asset_events: Mapping[Asset, list[Any]] | None = None) -> None:
        """Replace this with your own work, for example a dbt run. Airflow fills in the argument by its name."""
        for event in (triggering_asset_events or {}).get(SUBMISSIONS, []):
            print(f"{event.asset.name}: {event.extra['state']}, data as of {event.extra['data_as_of']}")

    build_report()
