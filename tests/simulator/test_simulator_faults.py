"""Every fault that can be ordered happens, as often as ordered, to the table it was ordered for."""

import gzip
import time
import zlib
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import requests

from local.simulator.control import SimulatorError
from local.simulator.faults import KINDS
from tests.simulator.running import Dap, RawClient, RunningSimulator

NAME = "canvas.folders"
TABLE = ("canvas", "folders")


def since(raw: RawClient) -> str:
    return str(raw.finished(NAME)["at"])


@pytest.mark.parametrize("retry_after", [None, 7])
def test_too_many_requests(simulator: RunningSimulator, raw: RawClient, retry_after: int | None) -> None:
    simulator.control.fault(*TABLE, "too_many_requests", times=2, retry_after=retry_after)
    assert raw.data("canvas.roles").status_code == 200, "another table"
    for _ in range(2):
        answer = raw.data(NAME)
        assert answer.status_code == 429
        assert answer.headers.get("Retry-After") == (None if retry_after is None else "7")
        assert set(answer.json()["error"]) == {"type", "uuid", "message"}
    assert raw.data(NAME).status_code == 200, "only as often as ordered"


@pytest.mark.parametrize(("body", "content_type"), [("json", "application/json"), ("html", "text/html")])
def test_server_error(simulator: RunningSimulator, raw: RawClient, body: str, content_type: str) -> None:
    simulator.control.fault(*TABLE, "server_error", status=504, body=body)
    answer = raw.data(NAME)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (504, content_type)


@pytest.mark.parametrize(
    ("kind", "status", "error_type"),
    [
        ("unauthorized", 401, "AuthenticationError"),
        ("account_disabled", 403, "AccountDisabled"),
        ("account_not_onboarded", 403, "AccountNotOnboarded"),
        ("account_under_maintenance", 403, "AccountUnderMaintenance"),
        ("request_type_forbidden", 403, "RequestTypeForbidden"),
    ],
)
def test_refusals(simulator: RunningSimulator, raw: RawClient, kind: str, status: int, error_type: str) -> None:
    simulator.control.fault(*TABLE, kind)
    answer = raw.data(NAME)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, error_type)
    assert raw.data(NAME).status_code == 200


def test_a_refused_snapshot_leaves_incrementals_alone(simulator: RunningSimulator, raw: RawClient) -> None:
    at = since(raw)
    simulator.control.fault(*TABLE, "request_type_forbidden")
    assert raw.data(NAME, since=at).status_code == 200
    assert raw.data(NAME).status_code == 403


@pytest.mark.parametrize(
    ("kind", "error_type"), [("snapshot_required", "SnapshotRequired"), ("out_of_range", "OutOfRange")]
)
def test_refused_ranges(simulator: RunningSimulator, raw: RawClient, kind: str, error_type: str) -> None:
    at = since(raw)
    simulator.control.fault(*TABLE, kind)
    assert raw.data(NAME).status_code == 200, "snapshots work"
    answer = raw.data(NAME, since=at)
    body = answer.json()["error"]
    assert (answer.status_code, body["type"], {"since", "until"} <= set(body)) == (400, error_type, True)


@pytest.mark.parametrize("endpoint", ["login", "list", "schema", "job", "object"])
def test_a_fault_of_another_call(simulator: RunningSimulator, raw: RawClient, endpoint: str) -> None:
    job = raw.finished(NAME)
    calls: dict[str, Callable[[], requests.Response]] = {
        "login": raw.login,
        "list": lambda: raw.get("/dap/query/canvas/table"),
        "schema": lambda: raw.get("/dap/query/canvas/table/folders/schema"),
        "job": lambda: raw.get(f"/dap/job/{job['id']}"),
        "object": lambda: raw.post("/dap/object/url", job["objects"]),
    }
    of = TABLE if endpoint in ("schema", "job", "object") else ("*", "*")
    simulator.control.fault(*of, "server_error", endpoint=endpoint, status=503)
    assert [calls[endpoint]().status_code for _ in range(2)] == [503, 200]


def test_a_call_that_hangs(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.fault(*TABLE, "hang", seconds=600)
    with pytest.raises(requests.Timeout):
        raw.data(NAME, timeout=0.5)
    assert raw.data(NAME).status_code == 200


def test_a_failed_job(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.fault(*TABLE, "failed_job")
    failed = raw.finished(NAME)
    assert failed["status"] == "failed"
    assert set(failed["error"]) == {"type", "uuid", "message"}
    again = raw.finished(NAME)
    assert (again["status"], again["id"] != failed["id"]) == ("complete", True)


def test_a_job_that_never_ends(simulator: RunningSimulator, raw: RawClient) -> None:
    simulator.control.advance(tables=[NAME], updates=1)
    simulator.control.fault(*TABLE, "hung_job")
    job = raw.data(NAME).json()
    assert job["status"] == "running"
    time.sleep(0.3)
    assert raw.get(f"/dap/job/{job['id']}").json()["status"] == "running"
    assert raw.finished(NAME)["status"] == "complete", "asked again it is another job"


@pytest.mark.parametrize("cut", ["mid_line", "after_line"])
def test_a_truncated_object(simulator: RunningSimulator, raw: RawClient, cut: str) -> None:
    (url,) = raw.object_urls(raw.finished(NAME))
    whole = gzip.decompress(raw.download(url).content)
    simulator.control.fault(*TABLE, "truncated_object", cut=cut)
    data = raw.download(url).content
    with pytest.raises(EOFError):
        gzip.decompress(data)
    text = zlib.decompressobj(wbits=31).decompress(data)
    assert whole.startswith(text)
    assert 1 < text.count(b"\n") < whole.count(b"\n")
    assert text.endswith(b"\n") == (cut == "after_line")
    assert gzip.decompress(raw.download(url).content) == whole, "the object itself is well"


def test_the_official_client_takes_an_object_cut_after_a_line_for_whole(simulator: RunningSimulator, dap: Dap) -> None:
    simulator.control.fault("canvas", "favorites", "truncated_object", cut="after_line")
    dap.initdb("canvas", "favorites")
    with psycopg.connect(dap.dsn) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM canvas.favorites").fetchone() or (0,)
    assert 0 < rows < simulator.control.tables()["canvas.favorites"]["rows"]


def test_a_corrupt_object(simulator: RunningSimulator, raw: RawClient) -> None:
    (url,) = raw.object_urls(raw.finished(NAME))
    simulator.control.fault(*TABLE, "corrupt_object")
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        gzip.decompress(raw.download(url).content)
    assert gzip.decompress(raw.download(url).content)


def test_an_expired_url(simulator: RunningSimulator, raw: RawClient) -> None:
    (url,) = raw.object_urls(raw.finished(NAME))
    simulator.control.fault(*TABLE, "expired_url")
    answer = raw.download(url)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (403, "application/xml")
    assert "Request has expired" in answer.text
    assert raw.download(url).status_code == 200


def test_a_slow_download(simulator: RunningSimulator, raw: RawClient) -> None:
    (url,) = raw.object_urls(raw.finished(NAME))
    simulator.control.fault(*TABLE, "slow_download", seconds=1)
    started = time.monotonic()
    assert gzip.decompress(raw.download(url).content)
    assert time.monotonic() - started > 0.9


def lines_of(raw: RawClient) -> list[bytes]:
    """The lines of a new snapshot, as bytes."""
    (url,) = raw.object_urls(raw.finished(NAME))
    return gzip.decompress(raw.download(url).content).split(b"\n")


def test_faults_of_the_data(simulator: RunningSimulator, raw: RawClient) -> None:
    good = lines_of(raw)
    header = good[0].split(b"\t")

    def spoilt(kind: str, **options: Any) -> list[bytes]:
        simulator.control.fault(*TABLE, kind, **options)
        lines = lines_of(raw)
        assert lines_of(raw) == good, "the next job is well"
        return lines

    column = header.index(b"value.parent_folder_id")
    malformed = spoilt("malformed_value", column="parent_folder_id", row=2)
    assert malformed[3].split(b"\t")[column] == b"not-a-value"
    assert malformed[:3] + malformed[4:] == good[:3] + good[4:]

    duplicate = spoilt("duplicate_key", row=4)
    assert duplicate[5] == duplicate[6] == good[5]
    assert len(duplicate) == len(good) + 1

    missing = spoilt("missing_column", column="name")
    assert missing[0].split(b"\t") == [name for name in header if name != b"value.name"]
    assert {len(line.split(b"\t")) for line in missing[:-1]} == {len(header) - 1}

    shuffled = spoilt("shuffled_columns")
    names = shuffled[0].split(b"\t")
    assert names != header
    assert sorted(names) == sorted(header)
    by_name = [dict(zip(names, line.split(b"\t"), strict=True)) for line in shuffled[1:-1]]
    assert by_name == [dict(zip(header, line.split(b"\t"), strict=True)) for line in good[1:-1]]

    assert b"\x00" in spoilt("nul_byte")[1]
    with pytest.raises(UnicodeDecodeError):
        spoilt("invalid_utf8")[1].decode()


def test_every_kind_can_be_ordered_and_forgotten(simulator: RunningSimulator) -> None:
    for kind in KINDS:
        simulator.control.fault(*TABLE, kind)
    assert [fault["kind"] for fault in simulator.control.stats()["faults_to_come"]] == list(KINDS)
    assert simulator.control.clear_faults() == len(KINDS)
    assert simulator.control.stats()["faults_to_come"] == []


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ({"kind": "earthquake"}, "unknown fault 'earthquake'"),
        ({"kind": "hang", "endpoint": "coffee"}, "does not exist for the call 'coffee'"),
        ({"kind": "hang", "times": 0}, "times must be a positive whole number"),
        ({"kind": "hang", "namespace": "canvas", "table": "nothing"}, "there is no table canvas.nothing"),
    ],
)
def test_an_impossible_order_is_refused_with_a_sentence(
    simulator: RunningSimulator, order: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SimulatorError, match=sentence):
        simulator.control.fault(**order)
