"""Versions of Aurora that AWS would refuse are found in the plan."""

from __future__ import annotations

import pytest

from scripts.checks import CheckError, database_version
from scripts.plans import Plan


def plan(before: str, after: str | None, *, allowed: bool = False, actions: tuple[str, ...] = ("update",)) -> Plan:
    change = {
        "actions": list(actions),
        "before": {"engine_version": before},
        "after": {"engine_version": after, "allow_major_version_upgrade": allowed},
    }
    return Plan(
        {"resource_changes": [{"address": "a", "type": "aws_rds_cluster", "mode": "managed", "change": change}]}
    )


@pytest.mark.parametrize(("before", "after"), [("16.14", "16.14"), ("16.9", "16.14"), ("17.1", "17.10")])
def test_minor_versions_go_up_without_permission(before: str, after: str) -> None:
    database_version(plan(before, after))


@pytest.mark.parametrize(("before", "after"), [("16.14", "17.10"), ("16.14", "18.1"), ("9.6", "16.1")])
def test_a_new_major_version_needs_permission(before: str, after: str) -> None:
    database_version(plan(before, after, allowed=True))
    with pytest.raises(CheckError, match=rf"from Aurora PostgreSQL {before} to {after} is an upgrade to a new major"):
        database_version(plan(before, after))


@pytest.mark.parametrize(("before", "after"), [("16.14", "16.9"), ("17.1", "16.14"), ("16.10", "16.2")])
def test_no_version_goes_back_with_permission_or_without(before: str, after: str) -> None:
    for allowed in (True, False):
        with pytest.raises(CheckError, match=f'does not go back to {after}: set database_engine_version = "{before}"'):
            database_version(plan(before, after, allowed=allowed))


def test_a_database_that_is_made_anew_has_any_version() -> None:
    database_version(plan("17.1", "16.14", actions=("delete", "create")))
    database_version(plan("17.1", None))
