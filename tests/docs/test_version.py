"""One version, wherever people meet it."""

from __future__ import annotations

import re
from datetime import date

from airflow.dag_processing.dagbag import DagBag

from cd2 import __version__
from tests.docs.markdown import REPOSITORY

CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
RELEASE = re.compile(r"(?m)^## (\d+)\.(\d+)\.(\d+) - (\d{4}-\d{2}-\d{2})$")
KINDS = ["Breaking", "Added", "Fixed"]


def test_the_newest_release_of_the_changelog_is_the_version_of_the_code() -> None:
    newest = RELEASE.findall(CHANGELOG)[0]
    assert ".".join(newest[:3]) == __version__


def test_releases_have_dates_and_stand_newest_first_below_unreleased() -> None:
    headings = re.findall(r"(?m)^## (.+)$", CHANGELOG)
    assert headings[0] == "Unreleased"
    assert all(RELEASE.fullmatch(f"## {heading}") for heading in headings[1:])
    releases = [(tuple(map(int, version)), date.fromisoformat(day)) for *version, day in RELEASE.findall(CHANGELOG)]
    assert releases == sorted(releases, reverse=True)


def test_each_release_says_what_breaks_before_what_is_new_and_what_is_fixed() -> None:
    for release in CHANGELOG.split("\n## ")[1:]:
        kinds = re.findall(r"(?m)^### (.+)$", release)
        assert kinds == [kind for kind in KINDS if kind in kinds]


def test_the_dag_shows_the_version() -> None:
    dag = DagBag(REPOSITORY / "dags").dags["canvas_data_2"]
    assert f"Version {__version__}." in (dag.doc_md or "")
