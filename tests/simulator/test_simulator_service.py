"""What DAP answers: envelopes, jobs, objects, chains. Seen by bare HTTP."""

import time
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests

from tests.simulator.running import CLIENT_ID, RawClient, RunningSimulator


def error(answer: requests.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()["error"]
    assert {"type", "uuid", "message"} <= set(body)
    return body


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_login_gives_a_token_that_says_when_it_expires(raw: RawClient) -> None:
    body = raw.login().json()
    assert set(body) == {"access_token", "expires_in", "scope", "token_type"}
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["sub"] == CLIENT_ID
    assert abs(claims["exp"] - time.time() - 3600) < 60


def test_wrong_secret_wrong_grant_and_missing_token(raw: RawClient) -> None:
    refused = raw.login("wrong")
    assert (refused.status_code, error(refused)["type"]) == (401, "AuthenticationError")
    assert raw.login(grant_type="password").status_code == 400
    for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        raw.headers = header
        assert raw.get("/dap/query/canvas/table").status_code == 401


def test_an_expired_token_is_refused(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.settings(token_seconds=0)
    try:
        raw.login()
    finally:
        simulator.control.settings(token_seconds=3600)
    time.sleep(1.1)
    refused = raw.get("/dap/query/canvas/table")
    assert (refused.status_code, error(refused)["type"]) == (401, "AuthenticationError")


@pytest.mark.parametrize(
    ("path", "kind", "identifier"),
    [
        ("/dap/query/mastery/table", "Namespace", "mastery"),
        ("/dap/query/canvas/table/nothing/schema", "Table", "nothing"),
        ("/dap/job/7b5d8ef0-0000-0000-0000-000000000000", "Job", "7b5d8ef0-0000-0000-0000-000000000000"),
    ],
)
def test_what_does_not_exist_is_named(raw: RawClient, path: str, kind: str, identifier: str) -> None:
    answer = raw.get(path)
    body = error(answer)
    assert (answer.status_code, body["type"], body["kind"], body["id"]) == (404, "NotFound", kind, identifier)


@pytest.mark.parametrize(
    ("body", "line", "column"),
    [
        ('{"format": "tsv",\n  "mode" "condensed"}', 2, 10),
        ('{"format": "xml"}', 1, 2),
        ('{"mode": "condensed"}', 1, 1),
        ('{"format": "tsv", "since": "yesterday"}', 1, 19),
        ('{"format": "tsv", "since": "2026-01-01T00:00:00"}', 1, 19),
        ('{"format": "tsv", "until": "2026-01-01T00:00:00Z"}', 1, 19),
        ('{"format": "tsv", "color": 1}', 1, 19),
        ("[]", 1, 1),
    ],
)
def test_a_request_that_is_not_valid_is_refused_with_its_place(
    raw: RawClient, body: str, line: int, column: int
) -> None:
    answer = raw.post("/dap/query/canvas/table/wikis/data", body)
    refused = error(answer)
    assert (answer.status_code, refused["type"]) == (400, "ValidationError")
    assert (refused["location"]["line"], refused["location"]["column"]) == (line, column)


def test_a_range_beyond_the_data_is_refused_with_the_permitted_one(raw: RawClient) -> None:
    at = raw.finished("canvas.wikis")["at"]
    later = (datetime.fromisoformat(at) + timedelta(seconds=1)).isoformat()
    for query in ({"since": "2001-01-01T00:00:00Z"}, {"since": later}, {"since": at, "until": later}):
        answer = raw.data("canvas.wikis", **query)
        refused = error(answer)
        assert (answer.status_code, refused["type"], refused["until"]) == (400, "OutOfRange", at)
        assert moment(refused["since"]) < moment(at)


def test_a_job_waits_runs_and_completes(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.job_seconds(3)
    try:
        job = raw.data("canvas.conversations").json()
        assert set(job) == {"id", "status", "expires_at"}
        states = [job["status"]]
        deadline = time.monotonic() + 60
        while states[-1] != "complete":
            assert time.monotonic() < deadline
            states.append(raw.get(f"/dap/job/{job['id']}").json()["status"])
            time.sleep(0.05)
    finally:
        simulator.control.job_seconds(0)
    assert list(dict.fromkeys(states)) == ["waiting", "running", "complete"]
    assert raw.get(f"/dap/job/{job['id']}").json().keys() == {
        "id", "status", "expires_at", "objects", "schema_version", "at"
    }  # fmt: skip


def test_the_same_question_gets_the_same_job_until_the_table_changes(
    simulator: RunningSimulator, raw: RawClient
) -> None:
    first = raw.finished("canvas.late_policies")
    assert raw.finished("canvas.late_policies")["id"] == first["id"]
    assert raw.finished("canvas.late_policies", since=first["at"])["id"] != first["id"]
    simulator.control.advance(tables=["canvas.late_policies"], updates=1)
    second = raw.finished("canvas.late_policies")
    assert second["id"] != first["id"]
    assert moment(second["at"]) > moment(first["at"])
    # The older answer is still there.
    assert raw.get(f"/dap/job/{first['id']}").json()["at"] == first["at"]


def test_a_job_and_its_objects_live_as_long_as_they_say(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.settings(job_life_seconds=4)
    try:
        job = raw.finished("canvas.enrollments")
    finally:
        simulator.control.settings(job_life_seconds=86400)
    (url,) = raw.object_urls(job)
    directory = simulator.state / "objects" / job["id"]
    assert directory.is_dir()
    time.sleep(4.1)
    assert raw.get(f"/dap/job/{job['id']}").status_code == 404
    assert raw.download(url).status_code == 404
    assert error(raw.post("/dap/object/url", job["objects"]))["kind"] == "Object"
    assert not directory.exists()


def test_an_object_needs_its_signature_only_and_only_for_a_while(simulator: RunningSimulator, raw: RawClient) -> None:
    job = raw.finished("canvas.wikis")
    (url,) = raw.object_urls(job)
    assert raw.download(url).status_code == 200
    assert urlsplit(url).path.endswith(".tsv.gz")
    forged = raw.download(url[:-4] + "0000")
    assert (forged.status_code, forged.headers["Content-Type"].split(";")[0]) == (403, "application/xml")
    assert "SignatureDoesNotMatch" in forged.text
    two_ways = raw.session.get(url, headers=raw.headers, timeout=10)
    assert (two_ways.status_code, "Only one auth mechanism allowed" in two_ways.text) == (400, True)
    simulator.control.settings(url_seconds=0)
    try:
        (expired_url,) = raw.object_urls(job)
    finally:
        simulator.control.settings(url_seconds=900)
    time.sleep(0.05)
    expired = raw.download(expired_url)
    assert (expired.status_code, "Request has expired" in expired.text) == (403, True)


def test_a_table_comes_in_parts_with_a_header_each(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.settings(rows_per_object=10)
    try:
        job, texts = raw.text("canvas.users")
    finally:
        simulator.control.settings(rows_per_object=100_000, reuse_jobs="never")
    assert [text.count("\n") - 1 for text in texts] == [10, 10, 10, 10]
    assert len({text.split("\n")[0] for text in texts}) == 1
    try:
        _, (whole,) = raw.text("canvas.users", mode=None)
    finally:
        simulator.control.settings(reuse_jobs="unchanged")
    assert len(job["objects"]) == 4
    assert whole.startswith("meta.ts\tkey.id\t")


def test_changes_chain_and_deletes_have_only_the_key(simulator: RunningSimulator, raw: RawClient) -> None:
    name = "canvas.quizzes"
    snapshot, state = raw.rows(name)
    replica = {row["key.id"]: row for row in state}
    since = snapshot["at"]
    for _ in range(4):
        simulator.control.advance(tables=[name], inserts=5, updates=7, deletes=3)
        job, rows = raw.rows(name, since=since)
        assert (job["since"], moment(job["until"]) > moment(since)) == (since, True)
        keys = [row["key.id"] for row in rows]
        assert len(set(keys)) == len(keys) == 5 + 7 + 3 + 1
        assert {row["meta.action"] for row in rows} == {"U", "D"}
        for row in rows:
            assert moment(since) <= moment(row["meta.ts"]) < moment(job["until"])
            if row.pop("meta.action") == "D":
                assert {value for column, value in row.items() if column.startswith("value.")} == {"\\N"}
                replica.pop(row["key.id"], None)
            else:
                replica[row["key.id"]] = row
        since = job["until"]
    _, again = raw.rows(name)
    assert {row["key.id"]: row for row in again} == replica
    # All in one step leads to the same place.
    _, rows = raw.rows(name, since=snapshot["at"])
    replica = {row["key.id"]: row for row in state}
    for row in rows:
        if row.pop("meta.action") == "D":
            replica.pop(row["key.id"], None)
        else:
            replica[row["key.id"]] = row
    assert {row["key.id"]: row for row in again} == replica


def test_until_leaves_out_what_was_written_later(simulator: RunningSimulator, raw: RawClient) -> None:
    name = "canvas.groups"
    since = raw.finished(name)["at"]
    simulator.control.advance(tables=[name], updates=15)
    until, first = raw.rows(name, since=since)
    simulator.control.advance(tables=[name], updates=15)
    job, second = raw.rows(name, since=since, until=until["until"])
    assert job["until"] == until["until"]
    assert {row["key.id"] for row in second} < {row["key.id"] for row in first}


def test_a_quiet_table_has_no_changes(simulator: RunningSimulator, raw: RawClient) -> None:
    at = raw.finished("canvas.post_policies")["at"]
    job, rows = raw.rows("canvas.post_policies", since=at)
    assert (job["since"], job["until"], rows) == (at, at, [])
    simulator.control.settings(empty_result="no_objects", reuse_jobs="never")
    try:
        assert raw.finished("canvas.post_policies", since=at)["objects"] == []
    finally:
        simulator.control.settings(empty_result="header", reuse_jobs="unchanged")


def test_a_deleted_key_comes_back(simulator: RunningSimulator, raw: RawClient) -> None:
    name = "canvas.rubrics"
    at = raw.finished(name)["at"]
    simulator.control.advance(tables=[name], deletes=1)
    job, rows = raw.rows(name, since=at)
    gone = {row["key.id"] for row in rows if row["meta.action"] == "D"}
    simulator.control.advance(tables=[name], inserts=1)
    _, rows = raw.rows(name, since=job["until"])
    assert [row["meta.action"] for row in rows] == ["U"]
    assert rows[0]["key.id"] in gone


def test_web_logs_come_more_than_once_the_newest_last(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.advance(tables=["canvas_logs.web_logs"], inserts=200, updates=50, deletes=50)
    _, rows = raw.rows("canvas_logs.web_logs")
    keys = [row["key.id"] for row in rows]
    twice = {key for key in keys if keys.count(key) > 1}
    assert len(twice) > 3
    assert len(set(keys)) == simulator.control.tables()["canvas_logs.web_logs"]["rows"] == 320
    for key in twice:
        first, second = (row for row in rows if row["key.id"] == key)
        assert moment(first["meta.ts"]) < moment(second["meta.ts"])
        assert first["value.url"] != second["value.url"] or first != second
