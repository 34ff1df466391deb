"""Example: a DAG of your own that runs whenever the table `canvas.submissions` has changed.

Copy it into your dags folder. Each table that a run has changed (rows, schema, or a new snapshot) is an Airflow asset
that has changed. A table in which nothing happened is none.
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
        """Replace this by your own work, for example a dbt run. Airflow fills in the argument by its name."""
        for event in (triggering_asset_events or {}).get(SUBMISSIONS, []):
            print(f"{event.asset.name}: {event.extra['state']}, data as of {event.extra['data_as_of']}")

    build_report()
