"""Tables of `[cd2] append_only_tables` are only ever added to: what DAP no longer has stays in the replica."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.settings import Settings
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, make_replicator, run
from tests.steps import init, sync

TABLE = TableName("canvas_logs", "visits")
WEB_LOGS = TableName("canvas_logs", "web_logs")
COLUMNS = "*id:i64 page:i64 name:s50? seconds:f64 state:enum(a|b|c) append_only"


@pytest.fixture
def replicator(simulator: SimulatorControl, target: DatabaseTarget) -> Replicator:
    return make_replicator(simulator, target, append_only=Settings().append_only_tables)


@pytest.fixture
def visits(simulator: SimulatorControl, replicator: Replicator) -> SimulatorControl:
    """30 rows, of which 12 have expired since their init."""
    simulator.add_table(TABLE.namespace, TABLE.table, COLUMNS, rows=30)
    run(init(replicator, TABLE))
    simulator.expire(TABLE.namespace, TABLE.table, 12)
    return simulator


def truth(simulator: SimulatorControl, table: TableName = TABLE) -> dict[str, dict[str, Any]]:
    """The rows that DAP has, by key."""
    head, *rows = simulator.truth(table.namespace, table.table)
    names = [column["name"] for column in head["columns"]]
    return {str(row[0]): dict(zip(names, row, strict=True)) for row in rows}


def replica(target: DatabaseTarget, table: TableName = TABLE) -> dict[str, dict[str, Any]]:
    """The rows of the replica, by key."""
    return {str(row[0]): json.loads(row[1]) for row in fetch(target, f"SELECT id, to_jsonb(t) FROM {table.quoted} t")}


def plain(value: object) -> str:
    """A value that another type may hold as well."""
    try:
        return str(float(str(value)) + 0.0)  # 0 and -0 are equal
    except ValueError:
        return str(value)


def rows_in_ledger(target: DatabaseTarget, table: TableName) -> int:
    """How many rows the table has, as the ledger tells it."""
    ((rows,),) = fetch(target, f"SELECT rows_in_table FROM cd2.status WHERE table_name = '{table.table}'")
    return int(rows)


def reset_cursor(target: DatabaseTarget) -> None:
    execute(target, "DELETE FROM instructure_dap.table_sync")


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("again", ["re-init", "no cursor", "snapshot required"])
def test_a_new_snapshot_keeps_the_rows_that_have_expired(
    again: str, told: bool, simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    before = run(init(replicator, WEB_LOGS))
    old = replica(target, WEB_LOGS)
    expired = simulator.expire(WEB_LOGS.namespace, WEB_LOGS.table, 40, told=told)
    simulator.advance(tables=[str(WEB_LOGS)], inserts=7)
    if again == "no cursor":
        reset_cursor(target)
    if again == "snapshot required":
        simulator.fault(WEB_LOGS.namespace, WEB_LOGS.table, "snapshot_required")
        assert run(sync(replicator, WEB_LOGS)).state == "needs_init"

    result = run(init(replicator, WEB_LOGS))

    assert (before.rows_kept, len(old)) == (0, before.rows_upserted)
    assert (result.action, result.rows_deleted, result.rows_kept, result.rows_upserted) == ("reinit", 0, expired, 7)
    now = replica(target, WEB_LOGS)
    assert now.keys() == old.keys() | truth(simulator, WEB_LOGS).keys()
    assert all(now[key] == row for key, row in old.items())
    assert result.to_json()["rows_kept"] == 40
    assert rows_in_ledger(target, WEB_LOGS) == len(now), "the rows that stay are rows of the table"


def test_deletes_of_expired_rows_are_counted_and_not_applied(
    simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    run(init(replicator, WEB_LOGS))
    old = replica(target, WEB_LOGS)
    simulator.expire(WEB_LOGS.namespace, WEB_LOGS.table, 10, told=True)
    execute(target, f"DELETE FROM {WEB_LOGS.quoted} WHERE id = '{min(old.keys() - truth(simulator, WEB_LOGS).keys())}'")
    simulator.advance(tables=[str(WEB_LOGS)], inserts=3)
    result = run(sync(replicator, WEB_LOGS))
    # The row that people have deleted themselves is not kept.
    assert (result.state, result.rows_upserted, result.rows_deleted, result.rows_kept) == ("complete", 3, 0, 9)
    assert len(replica(target, WEB_LOGS)) == len(old) - 1 + 3
    # Nobody counts what people delete themselves.
    assert rows_in_ledger(target, WEB_LOGS) == len(old) + 3
    simulator.expire(WEB_LOGS.namespace, WEB_LOGS.table, 10)
    assert run(sync(replicator, WEB_LOGS)).rows_kept == 0, "nothing tells of rows that vanish without a D"


def test_an_empty_snapshot_does_not_move_the_cursor_over_changes(
    visits: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    """It deletes no row, but what came since the last load would be missing for good."""
    visits.advance(tables=[str(TABLE)], inserts=5)
    visits.fault(TABLE.namespace, TABLE.table, "no_objects")
    with pytest.raises(TableFailure, match=r"the snapshot is empty, but the table has 30 row\(s\)"):
        run(init(replicator, TABLE))
    assert run(sync(replicator, TABLE)).rows_upserted == 5
    # If DAP really has no row any more, a person says so.
    visits.expire(TABLE.namespace, TABLE.table, 1.0)
    with pytest.raises(TableFailure, match="full_refresh and accept_shrink"):
        run(init(replicator, TABLE))
    job = run(replicator.ask(TABLE, None))
    accepted = run(replicator.load(TABLE, job, "init", accept_shrink=True))
    assert (accepted.state, accepted.rows_kept, len(replica(target))) == ("initialized", 35, 35)


def test_a_table_that_is_not_named_stays_equal_to_dap(visits: SimulatorControl, target: DatabaseTarget) -> None:
    equal = make_replicator(visits, target, append_only=("web_logs", "canvas.*"))
    result = run(init(equal, TABLE))
    assert (result.rows_deleted, result.rows_kept) == (12, 0)
    assert replica(target).keys() == truth(visits).keys()
    visits.expire(TABLE.namespace, TABLE.table, 2, told=True)
    assert run(sync(equal, TABLE)).rows_deleted == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sync", "re-init"])
@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        ("add_column", {"column": "added", "type": "text", "backfill": True}),
        ("add_column", {"column": "added", "type": "i64", "nullable": False}),
        ("drop_column", {"column": "page"}),
        ("widen", {"column": "name", "type": "s200"}),
        ("retype", {"column": "page", "type": "text"}),
        ("not_null", {"column": "name"}),
        ("nullable", {"column": "seconds"}),
        ("drop_enum_value", {"column": "state", "value": "b"}),
    ],
)
def test_a_schema_change_keeps_the_old_rows_with_all_their_values(
    change: str,
    arguments: dict[str, Any],
    how: str,
    visits: SimulatorControl,
    replicator: Replicator,
    target: DatabaseTarget,
) -> None:
    before = replica(target)
    visits.alter(TABLE.namespace, TABLE.table, change, **arguments)
    visits.advance(tables=[str(TABLE)], inserts=4)
    result = run(sync(replicator, TABLE)) if how == "sync" else run(init(replicator, TABLE))
    assert result.state in ("complete_with_schema_update", "initialized")
    now, dap = replica(target), truth(visits)
    assert now.keys() == before.keys() | dap.keys()
    assert result.rows_deleted == 0
    for key, row in (before | dap).items():
        assert {name: plain(now[key][name]) for name in row} == {name: plain(value) for name, value in row.items()}
    assert result.schema_version == 2
    # What the old rows did not allow does not stop anything later either.
    visits.advance(tables=[str(TABLE)], inserts=2)
    assert run(sync(replicator, TABLE)).rows_upserted == 2
    assert run(init(replicator, TABLE)).rows_kept == 12
    assert run(sync(replicator, TABLE)).state == "complete"


def test_what_old_rows_do_not_allow_is_said(
    visits: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    visits.alter(TABLE.namespace, TABLE.table, "drop_column", "page")
    visits.alter(TABLE.namespace, TABLE.table, "add_column", "added", type="i64", nullable=False)
    notes = run(sync(replicator, TABLE)).notes
    assert f"{TABLE}: DAP no longer has the column page: it stays, with its old values." in notes
    assert any("added must now have a value in every row, but old rows have none" in note for note in notes)
    changes = fetch(target, "SELECT kind, object, what FROM cd2.schema_changes ORDER BY kind")
    assert [tuple(change)[:2] for change in changes] == [("column added", "added"), ("column kept", "page")]
    assert changes[1]["what"] == "DAP no longer has the column page: it stays, with its old values"


def test_a_kept_column_that_dap_has_again_with_another_type_keeps_its_values(
    visits: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    """They may exist nowhere else, so nobody is told to drop it."""
    before = {key: row["page"] for key, row in replica(target).items()}
    visits.alter(TABLE.namespace, TABLE.table, "drop_column", "page")
    run(sync(replicator, TABLE))
    visits.alter(TABLE.namespace, TABLE.table, "add_column", "page", type="text")
    with pytest.raises(TableFailure, match="kept when DAP no longer had it or created by a user") as caught:
        run(sync(replicator, TABLE))
    assert "rename it" in caught.value.message
    assert "DROP" not in caught.value.message
    execute(target, f"ALTER TABLE {TABLE.quoted} RENAME COLUMN page TO old_page")
    visits.advance(tables=[str(TABLE)], inserts=2)
    assert run(sync(replicator, TABLE)).rows_upserted == 2
    now = replica(target)
    assert {key: now[key]["old_page"] for key in before} == before


@pytest.mark.parametrize("how", ["sync", "re-init"])
@pytest.mark.parametrize("new_type", ["i32", "num(6,0)"])
def test_old_rows_that_do_not_fit_a_new_type_fail_the_table_with_what_to_do(
    how: str, new_type: str, visits: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    """PostgreSQL itself would round the seconds."""
    execute(target, f"UPDATE {TABLE.quoted} SET seconds = 1.25")
    before = replica(target)
    visits.alter(TABLE.namespace, TABLE.table, "retype", "seconds", type=new_type)
    for _ in range(2):
        with pytest.raises(TableFailure, match="values of seconds are not of its new type") as failure:
            run(sync(replicator, TABLE) if how == "sync" else init(replicator, TABLE))
    assert replica(target) == before
    assert "1.25" not in failure.value.message

    # The sentence names the way out.
    execute(target, "CREATE SCHEMA archive")
    execute(target, f"ALTER TABLE {TABLE.quoted} SET SCHEMA archive")
    assert run(sync(replicator, TABLE)).state == "needs_init"
    assert run(init(replicator, TABLE)).state == "initialized"
    assert replica(target).keys() == truth(visits).keys()
    assert len(fetch(target, "SELECT FROM archive.visits")) == 30


def with_key(simulator: SimulatorControl, columns: str) -> None:
    """DAP has a table of the same name with another key; its 18 rows have other keys, too."""
    simulator.remove_table(TABLE.namespace, TABLE.table)
    simulator.add_table(TABLE.namespace, TABLE.table, f"{columns} append_only", rows=18)


def test_another_key_keeps_the_old_rows(
    visits: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    with_key(visits, "*id:i64 *page:i64 name:s50?")
    assert run(sync(replicator, TABLE)).state == "needs_init"
    result = run(init(replicator, TABLE))
    assert (result.state, result.rows_deleted, result.rows_kept, result.rows_upserted) == ("initialized", 0, 30, 18)

    # The column that is no longer a part of the key stays, too.
    execute(target, f"DELETE FROM {TABLE.quoted} a USING {TABLE.quoted} b WHERE a.id = b.id AND a.page < b.page")
    pages = {key: row["page"] for key, row in replica(target).items()}
    with_key(visits, "*id:i64 name:s50?")
    result = run(init(replicator, TABLE))
    dap = truth(visits)
    assert (result.rows_deleted, result.rows_kept) == (0, len(pages.keys() - dap.keys()))
    assert {key: row["page"] for key, row in replica(target).items()} == dict.fromkeys(dap) | pages
    visits.advance(tables=[str(TABLE)], inserts=2)
    assert run(sync(replicator, TABLE)).rows_upserted == 2


def test_old_rows_that_do_not_fit_a_new_key_fail_the_table_with_what_to_do(
    visits: SimulatorControl, replicator: Replicator, target: DatabaseTarget
) -> None:
    before = replica(target)
    with_key(visits, "*id:i64 *visit:i64 page:i64")
    for _ in range(2):
        assert run(sync(replicator, TABLE)).state == "needs_init"
        with pytest.raises(TableFailure, match="rows have no value, or the same one, in its new key id, visit"):
            run(init(replicator, TABLE))
    assert replica(target) == {key: {**row, "visit": None} for key, row in before.items()}
