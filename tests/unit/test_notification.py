"""The message that people read."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from cd2 import __version__
from cd2.notification.message import compose
from cd2.notification.summary import RunSummary
from cd2.replication.errors import ErrorInfo
from cd2.replication.names import TableName
from cd2.replication.results import Dependents, Freshness, OddVolume, TableResult, Unlisted, Verification

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROLES = TableName("canvas", "roles")
GOOD = TableResult(ROLES, "sync", "complete", rows_upserted=1234, rows_deleted=5, data_as_of=NOW.isoformat())
BAD = TableResult(
    TableName("canvas", "users"),
    "sync",
    "failed",
    error=ErrorInfo("ProcessingError", "canvas.users: sync failed: try later.", "ProcessingError", "0b7e"),
)


def summary_of(*results: TableResult, **more: object) -> RunSummary:
    started = NOW - timedelta(minutes=18, seconds=3)
    return RunSummary("prod", "scheduled__2026", started, NOW, results, **more)  # type: ignore[arg-type]


def test_success_is_said_in_the_subject() -> None:
    message = compose(summary_of(GOOD))
    assert message.subject == "[OK] Canvas Data 2 prod: 1 table up to date"
    assert message.attributes == {"environment": "prod", "status": "success", "severity": "info"}
    assert "1 complete, 1,234 rows written, 5 deleted, 0.0 KB downloaded; it took 18 min 3 s\n" in message.body


def test_rows_that_were_kept_are_counted() -> None:
    assert "old rows kept" not in compose(summary_of(GOOD)).body
    kept = compose(summary_of(replace(GOOD, rows_kept=1_200_345), replace(GOOD, table=BAD.table, rows_kept=1))).body
    assert ", 1,200,346 old rows kept, " in kept


def test_a_table_that_dap_no_longer_lists_is_a_warning_with_since_when() -> None:
    missing = Unlisted(TableName("canvas", "wikis"), NOW - timedelta(days=9), NOW - timedelta(days=10))
    message = compose(summary_of(GOOD, unlisted=(missing,)))
    assert message.subject == "[WARNING] Canvas Data 2 prod: 1 table up to date, 1 no longer listed"
    assert "canvas.wikis: not listed since 2026-02-20 12:00 UTC, data as of 2026-02-19 12:00 UTC\n" in message.body
    assert compose(summary_of(GOOD, BAD, unlisted=(missing,))).subject.startswith("[FAILURE]")


def test_a_failed_table_is_told_with_its_reason_type_uuid_and_log() -> None:
    message = compose(summary_of(GOOD, BAD, log_links={"canvas.users": "http://airflow/log"}))
    assert message.subject == "[FAILURE] Canvas Data 2 prod: 1 of 2 tables failed: canvas.users: try later."
    assert "canvas.users: canvas.users: sync failed: try later." not in message.body
    assert "canvas.users: sync failed: try later.\n  type ProcessingError, uuid 0b7e\n  Log: http://airflow/log" in (
        message.body
    )
    assert message.attributes["status"] == "failure"


def test_a_failed_listing_is_told_though_there_are_no_tables() -> None:
    message = compose(
        summary_of(problems={"list_tables": "DAP refused the credentials."}, log_links={"list_tables": "http://log"})
    )
    assert message.subject == "[FAILURE] Canvas Data 2 prod: list_tables failed: DAP refused the credentials."
    assert "list_tables failed: DAP refused the credentials.\n  Log: http://log" in message.body


def test_broken_views_and_old_data_are_named() -> None:
    result = TableResult(
        TableName("canvas", "users"),
        "sync",
        "complete",
        data_as_of=(NOW - timedelta(hours=9)).isoformat(),
        dependents=Dependents((), ("reporting.people",)),
    )
    message = compose(summary_of(result))
    assert message.subject.startswith("[WARNING]")
    assert "reporting.people" in message.body
    assert "canvas.users: as of 2026-03-01 03:00 UTC" in message.body


def test_a_dry_run_names_what_it_would_replicate() -> None:
    message = compose(summary_of(listed_only=("canvas.users", "canvas.roles")))
    assert "dry run, 2 tables listed" in message.subject
    assert "canvas.users\ncanvas.roles" in message.body


def test_a_thousand_failures_fit_into_one_sns_message() -> None:
    failures = [
        TableResult(TableName("canvas", f"table_{i}"), "sync", "failed", error=ErrorInfo("E", f"{i} " + "x" * 900))
        for i in range(1000)
    ]
    for message_format in ("text", "chatbot"):
        message = compose(summary_of(*failures), message_format)
        assert len(message.body.encode()) < 256 * 1024
        assert "1000 of 1000 tables failed" in message.body
        assert "(cut:" in message.body


def test_the_subject_is_ascii_and_short_whatever_is_in_it() -> None:
    message = compose(summary_of(problems={"prepare_database" + "é" * 200: "x"}))
    assert len(message.subject) <= 100
    assert message.subject.isascii()


def test_the_chatbot_format_is_the_json_that_chat_applications_show() -> None:
    content = json.loads(compose(summary_of(GOOD, BAD), "chatbot").body)
    assert (content["version"], content["source"]) == ("1.0", "custom")
    assert content["content"]["textType"] == "client-markdown"
    assert content["content"]["title"] == "[FAILURE] Canvas Data 2 prod: 1 of 2 tables failed: canvas.users: try later."
    assert "try later" in content["content"]["description"]
    assert content["content"]["nextSteps"]
    assert json.loads(compose(summary_of(GOOD), "chatbot").body)["content"]["nextSteps"] == []


def thread(**changes: object) -> str:
    content = json.loads(compose(replace(summary_of(BAD), **changes), "chatbot").body)  # type: ignore[arg-type]
    return str(content["metadata"]["threadId"])


def test_each_run_has_its_own_thread_in_the_chat_and_a_re_run_answers_in_it() -> None:
    assert thread() == thread(rerun=True)
    assert len({thread(), thread(run_id="scheduled__2027"), thread(environment="stg")}) == 3


def test_runs_with_the_same_id_of_other_dags_and_other_airflows_do_not_share_a_thread() -> None:
    """Scheduled runs of the same moment have the same id everywhere."""
    runs = [
        f"https://{airflow}/dags/{dag}/runs/scheduled__2026"
        for airflow in ("one.airflow.example", "two.airflow.example")
        for dag in ("canvas_data_2", "canvas_data_2_history")
    ]
    assert len({thread(run_url=run) for run in runs}) == 4
    assert thread(run_url=runs[0]) == thread(run_url=runs[0], rerun=True, finished=NOW + timedelta(hours=1))


@pytest.mark.parametrize("run_id", ["manual__" + "x" * 242, "läuft nicht / at all: 100 %"])
def test_the_id_of_a_thread_is_short_and_plain_whatever_the_run_is_called(run_id: str) -> None:
    assert re.fullmatch(r"[\w-]{10,64}", thread(run_id=run_id), re.ASCII)


def test_what_several_tables_met_is_told_once() -> None:
    error = ErrorInfo("OperationError", "canvas.users: asking DAP failed: it is disabled.", "AccountDisabled", "0b7e")
    tables = [TableName("canvas", name) for name in ("users", "roles", "courses")]
    failures = [TableResult(table, "sync", "failed", error=error) for table in tables]
    body = compose(summary_of(GOOD, *failures)).body
    assert body.count("it is disabled.") == 1
    assert "3 tables failed with this: canvas.users, canvas.roles, canvas.courses" in body


def test_a_failed_table_tells_what_its_data_is_as_of() -> None:
    failed = replace(BAD, data_as_of="2026-03-01T03:00:00+00:00")
    assert "Data as of 2026-03-01 03:00 UTC" in compose(summary_of(failed)).body


def test_a_re_run_and_a_recovery_say_so() -> None:
    message = compose(summary_of(GOOD, rerun=True, recovered=True))
    assert message.subject == "[OK] Canvas Data 2 prod: recovered, re-run, 1 table up to date"
    assert "an earlier message reported it" in message.body


def test_a_failed_table_is_told_with_how_fresh_it_still_is() -> None:
    since = NOW - timedelta(hours=3)
    failed = replace(BAD, data_as_of=(NOW - timedelta(hours=5)).isoformat())
    fresh = {TableName("canvas", "users"): Freshness(NOW - timedelta(hours=4), since)}
    body = compose(summary_of(failed, freshness=fresh)).body
    assert (
        "Data as of 2026-03-01 07:00 UTC, last up to date at 2026-03-01 08:00 UTC, failing since 2026-03-01 09:00 "
        in body
    )
    body = compose(summary_of(BAD, freshness={TableName("canvas", "users"): Freshness(None, since)})).body
    assert "Never loaded yet, failing since 2026-03-01 09:00 UTC" in body


def test_of_tables_that_met_the_same_the_one_that_is_worst_off_is_told() -> None:
    other = replace(BAD, table=ROLES)
    fresh = {
        TableName("canvas", "users"): Freshness(NOW - timedelta(hours=4), NOW - timedelta(hours=1)),
        TableName("canvas", "roles"): Freshness(NOW - timedelta(hours=2), NOW),
    }
    body = compose(summary_of(BAD, other, freshness=fresh)).body
    assert "Last up to date at 2026-03-01 08:00 UTC, failing since 2026-03-01 11:00 UTC" in body


def test_the_last_line_names_the_version_even_where_the_rest_is_cut() -> None:
    long = [replace(BAD, table=TableName("canvas", f"t{i}"), error=ErrorInfo("E", "x" * 9000)) for i in range(60)]
    for summary in (summary_of(GOOD), summary_of(*long)):
        assert compose(summary).body.splitlines()[-1] == f"Sent by Canvas Data 2 on Airflow {__version__}."


def test_unlisted_tables_and_odd_volumes_are_told_together() -> None:
    missing = Unlisted(TableName("canvas", "wikis"), NOW - timedelta(hours=4), NOW - timedelta(hours=8))
    odd = OddVolume(ROLES, date(2026, 2, 28), 1234, 56789)
    message = compose(summary_of(GOOD, unlisted=(missing,), odd_volumes=(odd,)))
    assert message.subject.endswith("1 table up to date, 1 no longer listed, 1 with an unusual volume")
    assert "TABLES THAT DAP NO LONGER LISTS" in message.body
    assert "TABLES WITH AN UNUSUAL NUMBER OF CHANGES" in message.body
    assert message.attributes["status"] == message.attributes["severity"] == "warning"


def test_a_table_with_an_odd_number_of_changes_is_a_warning_with_both_numbers() -> None:
    odd = OddVolume(TableName("canvas_logs", "web_logs"), date(2026, 2, 28), 1234, 56789)
    message = compose(summary_of(GOOD, odd_volumes=(odd,)))
    assert message.subject == (
        "[WARNING] Canvas Data 2 prod: 1 table up to date, 1 table with an unusual number of changes"
    )
    told = "canvas_logs.web_logs: 1,234 rows changed on Saturday, 2026-02-28; on that weekday usually 56,789"
    assert told in message.body
    assert message.attributes["severity"] == "warning"


def failures(number: int) -> list[TableResult]:
    return [replace(BAD, table=TableName("canvas", f"table_{n}")) for n in range(number)]


def test_a_failure_is_of_high_severity_if_more_tables_failed_than_the_setting_says() -> None:
    def severity(failed: int) -> str:
        return compose(summary_of(GOOD, *failures(failed), high_severity_tables=3)).attributes["severity"]

    assert [severity(failed) for failed in (1, 3, 4)] == ["warning", "warning", "high"]


def test_a_failure_is_of_high_severity_if_a_table_could_not_be_brought_up_to_date_for_a_day() -> None:
    users = TableName("canvas", "users")

    def severity(fresh: Freshness) -> str:
        return compose(summary_of(GOOD, BAD, freshness={users: fresh})).attributes["severity"]

    assert severity(Freshness(NOW - timedelta(hours=23), NOW - timedelta(hours=20))) == "warning"
    assert severity(Freshness(NOW - timedelta(hours=25), NOW - timedelta(hours=22))) == "high"
    assert severity(Freshness(None, NOW - timedelta(hours=25))) == "high"


def test_old_data_of_a_quiet_table_is_not_urgent() -> None:
    quiet = replace(GOOD, data_as_of=(NOW - timedelta(days=9)).isoformat())
    assert compose(summary_of(quiet)).attributes["severity"] == "info"


def test_a_run_that_could_do_nothing_is_of_high_severity() -> None:
    assert compose(summary_of(problems={"list_tables": "x"})).attributes["severity"] == "high"
    typo = summary_of(problems={"list_tables": "The trigger form names usres"}, partial=True)
    assert compose(typo).attributes["severity"] == "warning"


def verified(table: str, found: Verification) -> TableResult:
    return replace(GOOD, table=TableName("canvas", table), verification=found)


EQUAL = Verification("equal", snapshot_as_of=NOW.isoformat(), rows_compared=1000)


def test_a_verified_table_is_said_to_be_equal() -> None:
    message = compose(summary_of(GOOD, verified("users", EQUAL)))
    assert message.subject == "[OK] Canvas Data 2 prod: 2 tables up to date, 1 verified"
    assert "canvas.users: verified, equal: 1,000 rows compared as of 2026-03-01 12:00 UTC" in message.body


def test_a_table_that_is_not_equal_warns_with_counts() -> None:
    found = replace(EQUAL, outcome="different", missing=3, different=2, columns={"name": 2, "score": 1})
    message = compose(summary_of(verified("users", EQUAL), verified("terms", found)))
    assert message.subject == "[WARNING] Canvas Data 2 prod: 2 tables up to date, 1 not equal to DAP's snapshot"
    assert message.attributes["status"] == "warning"
    assert "3 missing, 2 different (by column: name 2, score 1)" in message.body
    assert message.body.index("canvas.terms: verified, not equal") < message.body.index("canvas.users: verified, equal")
    assert "trigger the DAG with it and repair" in message.body


def test_a_repair_warns_although_all_is_equal_now() -> None:
    message = compose(summary_of(verified("users", replace(EQUAL, outcome="repaired", extra=4))))
    assert message.attributes["status"] == "warning"
    assert "canvas.users: verified, repaired: 1,000 rows compared as of" in message.body
    assert "4 extra" in message.body


@pytest.mark.parametrize(("requested", "status"), [(True, "warning"), (False, "success")])
def test_a_refused_snapshot_warns_who_asked_for_it(requested: bool, status: str) -> None:
    refused = Verification("refused", requested, reason="DAP refuses this kind of request.")
    message = compose(summary_of(verified("users", refused)))
    assert message.attributes["status"] == status
    assert "canvas.users: not verified: DAP refuses this kind of request." in message.body
