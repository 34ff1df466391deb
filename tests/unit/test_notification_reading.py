"""The notification as people read it: on a phone, in a chat, at night."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cd2.notification.message import compose
from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import BrokenDependent, Dependents, OddVolume, TableResult, Unlisted

NOW = datetime(2026, 3, 1, 6, 18, tzinfo=UTC)
TABLES = [TableName("canvas", name) for name in ("accounts", "courses", "enrollments", "roles", "scores", "users")]
GOOD = [TableResult(table, "sync", "complete", rows_upserted=10, bytes_downloaded=2000) for table in TABLES]
RUN = "http://airflow/dags/canvas_data_2/runs/scheduled__2026"
PAGE = "http://airflow/plugin/canvas-data"
DISABLED = "canvas.accounts: asking DAP failed: Instructure has disabled DAP. (AccountDisabledError: it is disabled)"


def failed(table: TableName, message: str, type_: str | None = None, uuid: str | None = None) -> TableResult:
    return TableResult(table, "sync", "failed", error=ErrorInfo("E", message, type_, uuid))


def does_not_fit(table: TableName) -> TableResult:
    return failed(table, f"{table}: sync failed: A value does not fit its column. (DataError: column sis_id)", "22P02")


def service_failed(table: TableName) -> TableResult:
    message = f"{table}: asking DAP failed: DAP answered 500 for /dap/query/canvas/table/{table.table}/data: it failed."
    return failed(table, message, "ServerError", f"uuid-of-{table.table}")


def summary_of(*results: TableResult, **more: object) -> RunSummary:
    values = {"run_url": RUN, "page_url": PAGE, "broken_due": ()} | more
    return RunSummary("prod", "scheduled__2026", NOW - timedelta(minutes=18), NOW, results, **values)  # type: ignore[arg-type]


def in_chat(summary: RunSummary) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(compose(summary, "chatbot").body)["content"]
    return content


BROKEN = replace(GOOD[0], dependents=Dependents((), ("reporting.people",)))
DUE = (BrokenDependent("reporting.people", 'column "email" does not exist (SQLSTATE 42703).', NOW - timedelta(days=1)),)
KINDS = {
    "fine": summary_of(*GOOD),
    "one failed": summary_of(*GOOD[1:], does_not_fit(TABLES[0])),
    "all failed": summary_of(*(failed(table, DISABLED, "AccountDisabled", "0b7e") for table in TABLES)),
    "two reasons": summary_of(does_not_fit(TABLES[0]), *map(service_failed, TABLES[1:])),
    "re-run": summary_of(*GOOD, rerun=True, recovered=True, worked_on=frozenset(TABLES[:2])),
    "broken view": summary_of(BROKEN, *GOOD[1:], broken_due=DUE),
    "odd volume": summary_of(*GOOD, odd_volumes=(OddVolume(TABLES[0], date(2026, 2, 28), 12, 3456),)),
    "unlisted": summary_of(*GOOD, unlisted=(Unlisted(TableName("canvas", "wikis"), NOW, NOW),)),
    "no list": summary_of(problems={"list_tables": "Listing the tables of canvas failed: DAP refused the key."}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_leads_to_the_run_and_to_the_page(kind: str) -> None:
    for text in (compose(KINDS[kind]).body, in_chat(KINDS[kind])["description"]):
        assert f"This run: {RUN}\n" in text
        assert f"All tables (page Canvas Data): {PAGE}" in text


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_aligned_by_spaces(kind: str) -> None:
    """Chats and most mail programs show a proportional font."""
    for text in (compose(KINDS[kind]).body, in_chat(KINDS[kind])["description"]):
        assert [line for line in text.splitlines() if re.search(r"\S {2,}", line)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_chat_what_stands_below_a_heading_is_a_list(kind: str) -> None:
    first, *paragraphs = in_chat(KINDS[kind])["description"].split("\n\n")
    assert "\n" not in first
    for paragraph in paragraphs:
        _, *lines = paragraph.split("\n")
        assert all(line.startswith(("- ", "  ")) for line in lines)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("one failed", "1 of 6 tables failed: canvas.accounts: A value does not fit its..."),
        ("all failed", "6 of 6 tables failed: Instructure has disabled DAP."),
        ("two reasons", "6 of 6 tables failed: 5 of them: DAP answered 500: it failed."),
        ("no list", "list_tables failed: DAP refused the key."),
    ],
)
def test_the_subject_of_a_failure_has_the_reason_of_most_tables(kind: str, told: str) -> None:
    subject = compose(KINDS[kind]).subject
    assert subject == f"[FAILURE] Canvas Data 2 prod: {told}"
    assert in_chat(KINDS[kind])["title"] == subject


def test_a_reason_that_does_not_fit_into_the_subject_ends_between_two_words() -> None:
    subject = compose(summary_of(failed(TABLES[0], "word " * 99))).subject
    assert len(subject) <= 100
    assert subject.endswith(" word...")


def test_tables_that_failed_alike_but_for_job_and_path_share_an_entry_and_the_commonest_comes_first() -> None:
    body = compose(KINDS["two reasons"]).body
    assert body.count("DAP answered 500") == 1
    assert (
        "5 tables failed with this: canvas.courses, canvas.enrollments, canvas.roles, canvas.scores, canvas.us" in body
    )
    assert body.index("DAP answered 500") < body.index("A value does not fit")


def test_remedies_that_name_other_objects_stay_apart() -> None:
    told = [failed(table, f"{table}: run GRANT CREATE ON SCHEMA s_{table.table} TO etl.") for table in TABLES[:2]]
    body = compose(summary_of(*told)).body
    assert "s_accounts" in body
    assert "s_courses" in body


def test_of_many_tables_with_one_reason_twenty_are_named() -> None:
    body = compose(summary_of(*(failed(TableName("canvas", f"t{n}"), DISABLED) for n in range(109)))).body
    assert "109 tables failed with this: canvas.t0, " in body
    assert "canvas.t19 and 89 more\n" in body


@pytest.mark.parametrize("kind", ["one failed", "all failed", "two reasons", "no list"])
def test_a_failure_says_how_urgent_it_is_what_to_do_and_which_option_clears_only_what_failed(kind: str) -> None:
    body = compose(KINDS[kind]).body
    assert re.search(
        r"^Canvas Data 2, prod: .* failed\. Severity: (high|warning, it can wait until the morning)\.", body
    )
    assert '"Clear Run" with the option "Clear only failed tasks" (without it, all tasks are cleared)' in body
    assert "The next run tries again automatically." in body
    assert in_chat(KINDS[kind])["nextSteps"] == body.split("WHAT TO DO\n")[1].split("\n\n")[0].split("\n")


def test_a_run_with_a_mistyped_name_is_not_said_to_be_tried_again() -> None:
    assert "by itself" not in compose(replace(KINDS["no list"], partial=True)).body


def test_a_message_without_a_failure_demands_nothing() -> None:
    assert "WHAT TO DO" not in compose(KINDS["fine"]).body
    assert in_chat(KINDS["fine"])["nextSteps"] == []


def test_a_re_run_tells_its_own_figures_apart_from_those_of_the_whole_run() -> None:
    body = compose(KINDS["re-run"]).body
    assert (
        "This re-run: 2 tables; 2 complete, 20 rows written, 0 deleted, 4.0 KB downloaded; it took 18 min 0 s\n" in body
    )
    assert "The whole run: 6 tables; 6 complete, 60 rows written, 0 deleted, 12.0 KB downloaded\n" in body
    # of a run that an older version has reported, nobody knows
    assert "This re-run" not in compose(replace(KINDS["re-run"], worked_on=None)).body


def test_a_broken_view_is_told_with_its_reason_and_what_helps() -> None:
    message = compose(KINDS["broken view"])
    assert message.subject == "[WARNING] Canvas Data 2 prod: 6 tables up to date, 1 broken dependent"
    told = 'reporting.people: column "email" does not exist (SQLSTATE 42703). (since 2026-02-28 06:18 UTC)\n'
    assert told in message.body
    assert "recreate it without the column, from the definition in cd2.broken_dependents" in message.body


def test_a_broken_view_that_was_told_of_is_no_warning_and_not_forgotten() -> None:
    message = compose(summary_of(BROKEN, *GOOD[1:], broken_due=()))
    assert message.subject == "[OK] Canvas Data 2 prod: 6 tables up to date"
    assert message.attributes["status"] == "success"
    assert "Still broken, as an earlier message said: reporting.people\n" in message.body


def test_without_the_database_every_broken_view_is_told_of() -> None:
    message = compose(summary_of(BROKEN, *GOOD[1:], broken_due=None))
    assert message.attributes["status"] == "warning"
    assert "reporting.people: the log of its table says why\n" in message.body


def test_a_message_that_is_cut_still_leads_to_the_run() -> None:
    many = [failed(TableName("canvas", f"t{n}"), f"{n} " + "x" * 900) for n in range(1000)]
    for text in (compose(summary_of(*many)).body, in_chat(summary_of(*many))["description"]):
        assert f"The run in Airflow shows every table: {RUN}\n" in text
