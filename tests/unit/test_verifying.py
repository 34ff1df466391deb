"""Which tables a run verifies, and what of the trigger form is only for tables that somebody names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from cd2.replication.errors import TableFailure, TransientError
from cd2.replication.names import TableName
from cd2.replication.results import Unlisted
from cd2.replication.verification import journal
from cd2.replication.verification.journal import History
from cd2.settings import Settings
from cd2.tasks import operators
from cd2.tasks.verifying import VERIFY, check_form, check_meant, due

NOON = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
FORM = ("namespaces", "tables", "full_refresh", "verify", "repair", "accept_shrink", "dry_run")
A, B, C, D = (TableName("canvas", name) for name in "abcd")
SETTINGS = Settings(verify_tables_per_day=2)


def chosen(
    history: dict[TableName, History] | Exception, settings: Settings = SETTINGS, now: datetime = NOON
) -> list[str]:
    """What is chosen of a, b, c, d, of which b is the smallest and the size of d is unknown."""

    async def read(_: object) -> dict[TableName, History]:
        if isinstance(history, Exception):
            raise history
        return history

    replicator: Any = SimpleNamespace(replica=None)
    sizes = {A: 300, B: 100, C: 200}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "history", read)
        return asyncio.run(due(replicator, [A, B, C, D], sizes, settings, now))


def test_small_tables_come_first_if_none_was_ever_verified() -> None:
    assert chosen({name: History() for name in (A, B, C)}) == ["canvas.b", "canvas.c"]


def test_those_verified_longest_ago_come_first() -> None:
    days = {A: 3, B: 1, C: 2}
    history = {name: History(NOON - timedelta(days=ago)) for name, ago in days.items()}
    assert chosen(history) == ["canvas.a", "canvas.c"]
    assert chosen(history | {D: History()}) == ["canvas.d", "canvas.a"]


def test_a_table_that_was_refused_or_is_not_up_to_date_is_left_alone() -> None:
    assert chosen({A: History(), B: History(refused=True)}) == ["canvas.a"]


def test_no_more_are_verified_a_day_than_the_setting_says() -> None:
    done = History(NOON - timedelta(hours=2), today=1)
    assert chosen({A: History(), B: History(), C: done}) == ["canvas.b"]
    assert chosen({A: History(), B: done, C: done}) == []


@pytest.mark.parametrize(("hour", "count"), [(6, 2), (7, 0), (18, 0), (19, 2)])
def test_nothing_is_verified_in_quiet_hours(hour: int, count: int) -> None:
    settings = replace(SETTINGS, quiet_hours=tuple(range(7, 19)))
    assert len(chosen({A: History(), B: History()}, settings, NOON.replace(hour=hour))) == count


def test_a_database_that_cannot_be_asked_fails_no_run() -> None:
    assert chosen(TransientError("away")) == []


@pytest.mark.parametrize(("run_type", "told"), [("scheduled", ["canvas.b"]), ("manual", None)])
def test_only_a_scheduled_run_verifies_on_its_own(
    run_type: str, told: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(*_: Any) -> tuple[list[TableName], list[Unlisted]]:
        return [A, B], []

    async def sizes(*_: Any, **__: Any) -> dict[TableName, int]:
        return {A: 300, B: 100}

    async def history(_: object) -> dict[TableName, History]:
        return {A: History(), B: History()}

    replicator: Any = SimpleNamespace(replica=None)
    monkeypatch.setattr(journal, "history", history)
    monkeypatch.setattr(operators, "list_and_choose", listed)
    monkeypatch.setattr(operators, "sizes_in_replica", sizes)
    monkeypatch.setattr(operators, "load_settings", lambda: Settings(verify_tables_per_day=1))
    monkeypatch.setattr(operators, "with_credentials", lambda work: asyncio.run(work(replicator)))
    pushed: dict[str, Any] = {}
    context: Any = {
        "dag": SimpleNamespace(params={}),
        "params": {},
        "dag_run": SimpleNamespace(run_type=run_type),
        "task_state_store": SimpleNamespace(get=lambda _: None, set=lambda *_: None),
        "ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value})),
    }
    operators.ListTables(task_id="list_tables").execute(context)
    assert pushed.get(VERIFY) == told


@pytest.mark.parametrize("name", ["verify", "repair", "accept_shrink"])
@pytest.mark.parametrize("tables", [None, [], ["*"], ["canvas.users", "quiz_*"], ["users?"]])
def test_what_is_for_named_tables_needs_their_names(name: str, tables: list[str] | None) -> None:
    with pytest.raises(TableFailure, match=f"has {name}, which needs named tables"):
        check_form({name: True, "tables": tables}, FORM)
    check_form({name: True, "tables": ["canvas.users"]}, FORM)
    check_form({name: False, "tables": tables}, FORM)


def test_a_full_refresh_leaves_nothing_to_verify() -> None:
    with pytest.raises(TableFailure, match="nothing would be left to compare"):
        check_form({"verify": True, "full_refresh": True, "tables": ["users"]}, FORM)


def test_a_name_in_two_namespaces_confirms_no_loss_of_rows() -> None:
    users = [TableName("canvas", "users"), TableName("catalog", "users")]
    with pytest.raises(TableFailure, match=r"users stands for 2 tables: .* \(canvas.users, catalog.users\)"):
        check_meant({"accept_shrink": True, "tables": ["users"]}, users)
    check_meant({"accept_shrink": True, "tables": ["canvas.users", "catalog.users"]}, users)
    check_meant({"accept_shrink": True, "tables": ["users"]}, users[:1])
    check_meant({"repair": True, "tables": ["users"]}, users)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("include_tables", r"has include_tables, which this DAG does not know. Did you mean tables\? Its parameters"),
        ("Tables", r"Did you mean tables\?"),
        ("full_refesh", r"Did you mean full_refresh\?"),
        ("x", r"has x, which this DAG does not know. Its parameters are accept_shrink, dry_run"),
    ],
)
def test_a_misspelled_parameter_is_not_ignored(wrong: str, told: str) -> None:
    """The API and the command line take any; the run would be about all tables."""
    with pytest.raises(TableFailure, match=told):
        check_form({wrong: ["users"], "dry_run": False}, FORM)
