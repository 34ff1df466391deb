"""The unmodified official client works with the simulator, and ends up with exactly what the simulator says is true."""

import asyncio
import gzip
import json
from pathlib import Path

import psycopg
import pytest

from local.compare import compare
from local.simulator.catalogue import default_tables
from tests.simulator.running import CLIENT_ID, CLIENT_SECRET, Dap, RunningSimulator

# Between them: every type and every kind of key. tests/replication/test_same_as_client.py has all tables.
VARIED = ("catalogs", "products", "orders", "promotions", "certificates")
NAMES = [f"catalog.{table}" for table in VARIED]


def assert_equal(simulator: RunningSimulator, dsn: str, names: list[str] | None = None) -> int:
    """The replica is the truth. Returns how many rows there are."""
    results = compare(simulator.url, dsn, names)
    assert [result for result in results if not result.equal] == []
    return sum(result.rows for result in results)


def test_lists_the_tables_of_each_namespace(simulator: RunningSimulator, dap: Dap) -> None:
    listed = dap("list", "--namespace", "canvas").stdout.split()
    assert sorted(listed) == sorted(name for namespace, name in default_tables() if namespace == "canvas")
    assert len(listed) == 90


def test_initdb_and_two_syncdbs_give_the_truth(simulator: RunningSimulator, dap: Dap) -> None:
    dap.initdb("catalog", *VARIED)
    rows = assert_equal(simulator, dap.dsn, NAMES)
    assert rows == sum(simulator.control.tables()[name]["rows"] for name in NAMES)

    simulator.control.advance(0.3, NAMES)
    changes = simulator.control.advance(tables=NAMES, inserts=6, updates=9, deletes=4)
    assert changes["catalog.orders"] == {"inserts": 6, "updates": 9, "deletes": 4, "unseen_deletes": 1}
    assert any(not result.equal for result in compare(simulator.url, dap.dsn, NAMES))
    dap.syncdb("catalog", *VARIED)
    assert_equal(simulator, dap.dsn, NAMES)


def test_a_quiet_table_stays_as_it_is_and_keeps_its_timestamp(simulator: RunningSimulator, dap: Dap) -> None:
    def timestamp() -> object:
        with psycopg.connect(dap.dsn) as connection:
            row = connection.execute("SELECT timestamp, timestamp < now() FROM instructure_dap.table_sync").fetchone()
        assert row is not None
        assert row[1]
        return row[0]

    dap.initdb("canvas", "wikis")
    before = timestamp()
    assert "Upserted 0 records" in dap.syncdb("canvas", "wikis").stderr
    assert timestamp() == before
    assert_equal(simulator, dap.dsn, ["canvas.wikis"])


def change_schema(simulator: RunningSimulator, table: str) -> None:
    """Every kind of change that the official client can follow, and rows written afterwards."""
    control = simulator.control
    control.alter("canvas", table, "add_column", "color", type="s20")
    control.alter("canvas", table, "add_column", "mood", type="enum(calm|wild)")
    control.alter("canvas", table, "add_column", "size", type="i32")
    control.alter("canvas", table, "widen", "size", type="i64")
    control.alter("canvas", table, "add_enum_value", "workflow_state", value="improvised")
    control.alter("canvas", table, "drop_column", "mood")
    control.alter("canvas", table, "nullable", "created_at")
    control.alter("canvas", table, "comment", "color", text="What it looks like.")
    assert control.alter("canvas", table, "widen", "color", type="text") == 10
    control.advance(tables=[f"canvas.{table}"], inserts=30, updates=5, deletes=2)


def test_schema_changes_reach_the_replica(simulator: RunningSimulator, dap: Dap) -> None:
    dap.initdb("canvas", "calendar_events")
    change_schema(simulator, "calendar_events")
    dap.syncdb("canvas", "calendar_events")
    assert_equal(simulator, dap.dsn, ["canvas.calendar_events"])
    with psycopg.connect(dap.dsn) as connection:
        colors = connection.execute("SELECT count(color), count(*) FROM canvas.calendar_events").fetchone()
        improvised = connection.execute("SELECT FROM canvas.calendar_events WHERE workflow_state = 'improvised'")
        known = connection.execute("SELECT schema_version FROM instructure_dap.table_sync").fetchone()
        assert improvised.fetchone() is not None
    assert colors is not None
    assert 0 < colors[0] < colors[1], "rows written before the column was added have no value in it"
    assert known == (10,)


@pytest.mark.slow
def test_a_replica_that_begins_after_schema_changes_is_the_same(simulator: RunningSimulator, dap: Dap) -> None:
    change_schema(simulator, "discussion_topics")
    dap.initdb("canvas", "discussion_topics")
    assert_equal(simulator, dap.dsn, ["canvas.discussion_topics"])


def test_snapshot_and_incremental_files_hold_the_rows(simulator: RunningSimulator, dap: Dap, tmp_path: Path) -> None:
    name, table = "catalog.tags", ("--namespace", "catalog", "--table", "tags", "--output-directory", str(tmp_path))
    dap("schema", *table)
    assert json.loads((tmp_path / "tags_schema_version_1.json").read_text())["version"] == 1
    dap("snapshot", *table, "--format", "tsv")
    (file,) = tmp_path.glob("job_*/*.tsv.gz")
    header, *lines = gzip.decompress(file.read_bytes()).decode().split("\n")[:-1]
    assert header == "meta.ts\tkey.id\tvalue.name\tvalue.order\tvalue.Group\tvalue.select\tvalue.synonyms"
    assert len(lines) == simulator.control.tables()[name]["rows"]

    simulator.control.advance(tables=[name], updates=1, deletes=1)
    file.unlink()
    dap("incremental", *table, "--format", "tsv", "--since", min(line.split("\t")[0] for line in lines))
    (file,) = tmp_path.glob("job_*/*.tsv.gz")
    rows = [line.split("\t") for line in gzip.decompress(file.read_bytes()).decode().split("\n")[1:-1]]
    deleted = [fields[3:] for fields in rows if fields[1] == "D"]
    assert deleted == [["\\N"] * 5] * 2, "one row that was seen, one that never was; of both only the key"


@pytest.mark.parametrize(
    "format_name", ["csv", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jsonl", "parquet"))]
)
def test_a_format_that_is_not_offered_is_refused_with_a_sentence(dap: Dap, tmp_path: Path, format_name: str) -> None:
    table = ("--namespace", "catalog", "--table", "tags", "--output-directory", str(tmp_path))
    refused = dap("snapshot", *table, "--format", format_name, check=False)
    assert refused.returncode != 0
    assert f"'{format_name}' is not offered by this service" in refused.stderr


def test_wrong_credentials_are_refused(simulator: RunningSimulator) -> None:
    result = Dap(simulator.url, secret="wrong")("list", "--namespace", "canvas", check=False)
    assert result.returncode != 0
    assert "Invalid client credentials" in result.stderr


def test_the_library_renews_a_token_that_is_about_to_expire(simulator: RunningSimulator) -> None:
    from dap.api import DAPClient
    from dap.dap_types import Credentials

    async def run() -> None:
        credentials = Credentials.create(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        async with DAPClient(simulator.url, credentials, tracking=False) as session:
            await session.get_tables("catalog")
            await session.get_tables("catalog")

    simulator.control.reset_stats()
    asyncio.run(run())
    assert simulator.control.stats()["calls"]["login"] == 1
    simulator.control.settings(token_seconds=60)
    try:
        asyncio.run(run())
    finally:
        simulator.control.settings(token_seconds=3600)
    assert simulator.control.stats()["calls"]["login"] == 3
