"""The data dictionary of a real replica: what it says, what it never says, and how it gets to S3 (moto server)."""

from __future__ import annotations

import asyncio
import importlib
import logging
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import psycopg
import pytest

from cd2.dictionary import catalog
from cd2.dictionary.__main__ import DictionaryError, write
from cd2.dictionary.model import Column, Dictionary, Reference
from cd2.dictionary.page import render
from cd2.notification.summary import RunSummary
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.settings import Settings
from cd2.tasks.reporting import dictionary as reporting
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, make_replicator, run
from tests.steps import init, sync

USERS, COURSES, ENROLLMENTS = (TableName("canvas", name) for name in ("users", "courses", "enrollments"))
SCRIPT = '<script>document.title = "taken"</script>'
NASTY = f"{SCRIPT} \"quoted\" 'single' & `code <b>` 🎓"
LABELS = ("a", '<img src=x onerror="x">', "it's", "🎓")
NOW = "2026-11-26T12:00:00Z"


def read(target: DatabaseTarget) -> Dictionary:
    async def work() -> Dictionary:
        connection = await connect(target)
        try:
            return await catalog.read(connection)
        finally:
            await connection.close()

    return run(work())


def column(found: Dictionary, table: TableName, name: str) -> Column:
    (of,) = [each for each in found.tables if each.name == table]
    return next(each for each in of.columns if each.name == name)


class Elements(HTMLParser):
    """What a browser makes of a page: its elements, and their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_dictionary_says_what_the_replica_and_the_ledger_know(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    for name in (USERS, COURSES, ENROLLMENTS):
        run(init(replicator, name))
    found = read(target)
    assert [table.name for table in found.tables] == [COURSES, ENROLLMENTS, USERS]
    key = column(found, USERS, "id")
    assert (key.type, key.key, key.required, key.comment) == ("bigint", True, True, "Primary key.")
    state = column(found, COURSES, "workflow_state")
    assert state.type == "canvas.courses__workflow_state"
    assert "available" in state.values
    assert not [value for value in state.values if value.startswith("__dap")]
    assert column(found, USERS, "name").type == "varchar(255)"
    assert column(found, ENROLLMENTS, "user_id").reference == Reference((USERS,), "documented")
    users = found.tables[-1]
    rows = int(execute(target, "SELECT count(*) FROM canvas.users"))
    assert (users.rows, users.estimated, users.state) == (rows, False, "initialized")
    assert users.checked_at is not None
    assert users.data_as_of is not None
    assert users.schema_version == 1
    assert not any(each.added for table in found.tables for each in table.columns)


def test_texts_of_dap_and_of_people_are_texts_never_markup(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    simulator.alter("canvas", "users", "comment", text=NASTY)
    simulator.alter("canvas", "users", "comment", "name", text=NASTY)
    simulator.alter("canvas", "users", "add_column", '<b>"bold"', type=f"enum({'|'.join(LABELS)})")
    run(init(replicator, USERS))
    execute(target, "ALTER TABLE canvas.users ADD COLUMN \"my <i>'note'\" text")
    found = read(target)
    assert column(found, USERS, '<b>"bold"').values == LABELS
    assert [each.name for each in found.tables[0].columns if each.added] == ["my <i>'note'"]
    page = Elements("".join(render(found)))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert {"b", "i", "img"}.isdisjoint(tags)
    assert [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)] == []
    shown = "".join(page.texts)
    assert shown.count(SCRIPT) == 2
    for text in ("🎓", '<b>"bold"', "my <i>'note'", *LABELS):
        assert text in shown
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not any(character in str(each) for each in ids for character in ' "<>')


def test_no_value_of_a_row_is_in_it(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    run(init(replicator, USERS))
    simulator.advance(0.3, ["canvas.users"])
    run(sync(replicator, USERS))
    texts = {
        value
        for row in fetch(target, "SELECT * FROM canvas.users")
        for value in map(str, row.values())
        if len(value) > 6
    }
    assert len(texts) > 50
    allowed = {catalog.UNSPECIFIED} | {value for each in read(target).tables[0].columns for value in each.values}
    page = "".join(render(read(target)))
    assert [value for value in texts - allowed if value in page] == []


def test_with_fewer_rights_it_says_less(replicator: Replicator, target: DatabaseTarget, database: str) -> None:
    run(init(replicator, USERS))
    role = f"reader_{secrets.token_hex(4)}"
    execute(target, f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        reader = replace(target, user=role, password="p")
        found = read(reader)
        assert [table.name for table in found.tables] == [USERS]
        assert (found.tables[0].state, found.tables[0].checked_at) == (None, None)
        assert column(found, USERS, "name").comment == "The name of the record."
        execute(target, f"GRANT USAGE ON SCHEMA cd2 TO {role}")
        assert read(reader).tables[0].state == "initialized"
    finally:
        execute(target, f"DROP OWNED BY {role}")
        execute(target, f"DROP ROLE {role}")


def test_only_what_was_replicated_is_in_it_and_own_constraints_count(
    replicator: Replicator, target: DatabaseTarget
) -> None:
    for name in (USERS, COURSES):
        run(init(replicator, name))
    execute(target, "CREATE TABLE canvas.our_backup AS TABLE canvas.users")
    execute(target, "ALTER TABLE canvas.courses ADD COLUMN our_owner bigint REFERENCES canvas.users")
    found = read(target)
    assert [table.name for table in found.tables] == [COURSES, USERS]
    owner = column(found, COURSES, "our_owner")
    assert (owner.added, owner.reference) == (True, Reference((USERS,), "foreign key"))


def test_a_load_that_changes_a_table_is_not_waited_for(
    replicator: Replicator, target: DatabaseTarget, database: str
) -> None:
    run(init(replicator, USERS))
    with psycopg.connect(database) as loading:
        loading.execute("LOCK TABLE canvas.users IN ACCESS EXCLUSIVE MODE")
        found = run(asyncio.wait_for(asyncio.to_thread(read, target), 30))
    assert [table.name for table in found.tables] == [USERS]


def test_the_command_writes_a_file_of_the_database_in_the_environment(
    replicator: Replicator, target: DatabaseTarget, database: str, tmp_path: Path
) -> None:
    run(init(replicator, USERS))
    file = tmp_path / "dictionary.html"

    def command(dsn: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "cd2.dictionary", str(file)]
        environment = {"CD2_DSN": dsn, "PYTHONPATH": str(Path(catalog.__file__).parents[2])}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    refused = command(database.replace(target.password, "not-the-one"))
    assert refused.returncode == 1
    assert "authentication" in refused.stderr
    assert "not-the-one" not in refused.stderr
    assert not file.exists()
    done = command(database)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{file}: 1 tables, " in done.stdout
    assert "<h1>Data dictionary of Canvas Data 2</h1>" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(DictionaryError, match=r"PostgreSQL at 127\.0\.0\.1:1/canvas cannot be reached") as caught:
        write("postgresql://a:secret@127.0.0.1:1/canvas", file)
    assert "secret" not in str(caught.value)


@pytest.fixture
def bucket(aws: None) -> str:
    # It sets up the logging when it is first imported, and caplog would miss what follows.
    importlib.import_module("airflow.providers.amazon.aws.hooks.base_aws")
    name = f"dictionaries-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


def put(uri: str, replicator: Replicator, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Write the dictionary; what the log says, by level."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger=reporting.log.name):
        reporting.put(Settings(dictionary_s3_uri=uri), lambda: replicator)
    return [f"{each.levelname}: {each.getMessage()}" for each in caplog.records if each.name == reporting.log.name]


def test_notify_writes_it_to_s3_as_a_page(
    replicator: Replicator, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(init(replicator, USERS))
    uri = f"s3://{bucket}/canvas/dictionary.html"
    (told,) = put(uri, replicator, caplog)
    assert told.startswith(f"INFO: Wrote the data dictionary to {uri}, 0.")
    stored = boto3.client("s3").get_object(Bucket=bucket, Key="canvas/dictionary.html")
    assert (stored["ContentType"], stored["CacheControl"]) == ("text/html; charset=utf-8", "no-cache")
    page = Elements(stored["Body"].read().decode())
    assert "canvas.users" in page.texts


@pytest.mark.usefixtures("bucket")
def test_nothing_fails_if_s3_or_the_database_does(
    simulator: SimulatorControl,
    replicator: Replicator,
    target: DatabaseTarget,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (told,) = put("s3://no-such-bucket-here/dictionary.html", replicator, caplog)
    assert "WARNING: The data dictionary could not be written to s3://no-such-bucket-here" in told
    assert "(NoSuchBucket)" in told
    monkeypatch.setattr(reporting, "PATIENCE_S", 0.0)
    away = make_replicator(simulator, replace(target, port=1))
    (told,) = put("s3://bucket/dictionary.html", away, caplog)
    assert "WARNING: The data dictionary was not written: PostgreSQL at " in told
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    (told,) = put("s3://bucket/dictionary.html", replicator, caplog)
    assert "(EndpointConnectionError)" in told


@pytest.mark.parametrize(
    ("run_type", "uri", "change", "due"),
    [
        ("scheduled", "s3://bucket/d.html", {}, True),
        ("manual", "s3://bucket/d.html", {}, False),
        ("scheduled", "", {}, False),
        ("scheduled", "s3://bucket/d.html", {"partial": True}, False),
        ("scheduled", "s3://bucket/d.html", {"rerun": True}, False),
        ("scheduled", "s3://bucket/d.html", {"results": ()}, False),
        ("scheduled", "s3://bucket/d.html", {"freshness": {}}, False),
    ],
)
def test_only_a_scheduled_run_about_all_tables_writes_it(
    run_type: str, uri: str, change: dict[str, Any], due: bool, summary: Callable[[], RunSummary]
) -> None:
    context = cast("Any", {"dag_run": SimpleNamespace(run_type=run_type)})
    assert reporting.is_due(context, Settings(dictionary_s3_uri=uri), replace(summary(), **change)) is due


@pytest.fixture
def summary() -> Callable[[], RunSummary]:
    from datetime import UTC, datetime

    from cd2.replication.results import Freshness, TableResult

    now = datetime.fromisoformat(NOW).astimezone(UTC)
    results = (TableResult(USERS, "sync", "complete"),)
    return lambda: RunSummary("dev", "run", now, now, results, freshness={USERS: Freshness(now, None)})
