"""The ledger: what was loaded, what failed, and what changed in the schemas, in the transaction of the load."""

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from cd2.replication.bookkeeping import ledger, status
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import Cd2Error, TransientError
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, run
from tests.steps import init, sync


def rows(database: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


def loads(database: str, table: str) -> list[dict[str, Any]]:
    return rows(database, f"SELECT * FROM cd2.loads WHERE namespace || '.' || table_name = '{table}' ORDER BY at")


def status_of(database: str, table: str) -> dict[str, Any]:
    (row,) = rows(database, f"SELECT * FROM cd2.status WHERE namespace || '.' || table_name = '{table}'")
    return row


def number_of(target: DatabaseTarget, table: str) -> int:
    return int(execute(target, f"SELECT count(*) FROM {table}"))


def test_each_load_has_a_row_that_says_what_its_result_says(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    results = [run(init(replicator, "canvas.accounts"))]
    simulator.advance(tables=["canvas.accounts"], inserts=7, updates=3, deletes=2)
    results.append(run(sync(replicator, "canvas.accounts")))
    results.append(run(sync(replicator, "canvas.accounts")))
    found = loads(database, "canvas.accounts")
    assert len(found) == 3
    for row, result in zip(found, results, strict=True):
        assert (row["action"], row["state"]) == (result.action, result.state)
        assert (row["rows_written"], row["rows_deleted"]) == (result.rows_upserted, result.rows_deleted)
        assert (row["bytes_downloaded"], row["job_id"]) == (result.bytes_downloaded, result.job_id)
        assert (row["schema_version"], row["seconds"]) == (result.schema_version, result.duration_s)
        assert row["data_as_of"].isoformat() == result.data_as_of
        assert (row["since"].isoformat() if row["since"] else None) == result.since
        assert row["error"] is None
    assert found[1]["rows_written"] + found[1]["rows_deleted"] >= 10


def test_the_number_of_rows_is_kept_without_counting_them(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    for table in ("canvas.users", "canvas_logs.web_logs"):
        run(init(replicator, table))
        for _ in range(3):
            simulator.advance(tables=[table], inserts=9, updates=4, deletes=5)
            run(sync(replicator, table))
            assert loads(database, table)[-1]["rows_in_table"] == number_of(target, table)
        simulator.advance(0.3, [table])
        run(init(replicator, table))
        assert loads(database, table)[-1]["action"] == "reinit"
        assert loads(database, table)[-1]["rows_in_table"] == number_of(target, table)
        assert status_of(database, table)["rows_in_table"] == number_of(target, table)


@pytest.mark.parametrize("huge", [False, True])
def test_the_rows_of_a_table_that_was_there_before_the_ledger_are_counted_once_or_estimated(
    huge: bool,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A count of a very large table may take many minutes; a verification or full refresh makes it exact."""
    run(init(replicator, "canvas.roles"))
    execute(target, "DELETE FROM cd2.loads")
    if huge:
        monkeypatch.setattr(ledger, "COUNTED_BYTES", 0)
        execute(target, "ANALYZE canvas.roles")
    run(sync(replicator, "canvas.roles"))
    assert loads(database, "canvas.roles")[-1]["rows_in_table"] == number_of(target, "canvas.roles")
    simulator.advance(tables=["canvas.roles"], inserts=5, updates=0, deletes=0)
    run(sync(replicator, "canvas.roles"))
    assert loads(database, "canvas.roles")[-1]["rows_in_table"] == number_of(target, "canvas.roles")


def test_a_failure_has_a_row_of_its_own_with_kind_and_sentence(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, "canvas.courses"))
    with pytest.raises(Cd2Error) as caught:
        run(replicator.failed(TableName("canvas", "courses"), "sync", TransientError("It broke.", type="X"), run="r1"))
    row = loads(database, "canvas.courses")[-1]
    assert (row["action"], row["state"], row["run_id"]) == ("sync", "failed", "r1")
    assert (row["error_kind"], row["error_type"], row["error"]) == ("TransientError", "X", caught.value.message)
    assert row["data_as_of"] == loads(database, "canvas.courses")[0]["data_as_of"]
    now = status_of(database, "canvas.courses")
    assert (now["state"], now["error"]) == ("failed", "It broke.")
    assert now["failing_since"]
    assert now["rows_in_table"] == loads(database, "canvas.courses")[0]["rows_in_table"]
    run(sync(replicator, "canvas.courses"))
    now = status_of(database, "canvas.courses")
    assert (now["state"], now["error"], now["failing_since"]) == ("complete", None, None)


def test_a_load_that_fails_leaves_only_the_row_of_its_failure(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, "canvas.quizzes"))
    simulator.advance(0.3, ["canvas.quizzes"])
    simulator.fault("canvas", "quizzes", "malformed_value")
    with pytest.raises(Cd2Error):
        run(sync(replicator, "canvas.quizzes"))
    assert [row["state"] for row in loads(database, "canvas.quizzes")] == ["initialized", "failed"]


def test_why_a_table_needed_a_new_snapshot_is_kept(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, "canvas.quizzes"))
    simulator.advance(0.2, ["canvas.quizzes"])
    simulator.fault("canvas", "quizzes", "snapshot_required")
    assert run(sync(replicator, "canvas.quizzes")).state == "needs_init"
    row = loads(database, "canvas.quizzes")[-1]
    assert (row["state"], row["error_kind"]) == ("needs_init", "ReinitRequired")
    assert row["error"]
    run(init(replicator, "canvas.quizzes"))
    assert status_of(database, "canvas.quizzes")["state"] == "initialized"


def test_what_changed_in_the_schema_is_told_column_by_column(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "things", "name:s40? note:text? place:s40? state:enum(a|b) size:num(6,2)?", rows=9)
    run(init(replicator, "canvas.things"))
    before = loads(database, "canvas.things")[-1]["schema_version"]
    simulator.alter("canvas", "things", "add_column", "open", type="bool")
    simulator.alter("canvas", "things", "drop_column", "note")
    simulator.alter("canvas", "things", "widen", "name", type="s80")
    simulator.alter("canvas", "things", "not_null", "place")
    simulator.alter("canvas", "things", "comment", "size", text="In meters.")
    after = simulator.alter("canvas", "things", "add_enum_value", "state", value="c")
    run(sync(replicator, "canvas.things"))
    assert loads(database, "canvas.things")[-1]["rows_in_table"] == number_of(target, "canvas.things") == 9
    changes = rows(database, "SELECT * FROM cd2.schema_changes")
    assert {(change["from_version"], change["to_version"]) for change in changes} == {(before, after)}
    assert {(change["kind"], change["object"], change["what"]) for change in changes} == {
        ("column added", "open", "column open added (boolean)"),
        ("column dropped", "note", "column note dropped (text)"),
        ("type", "name", "type of name: varchar(40) -> varchar(80)"),
        ("required", "place", "place is now required"),
        ("comment", "size", "comment of size changed"),
        ("values", "state", "values of state: added c"),
    }
    run(sync(replicator, "canvas.things"))
    assert len(rows(database, "SELECT FROM cd2.schema_changes")) == len(changes)


def test_a_view_that_breaks_is_noted_once_and_again_when_it_is_back(
    replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    simulator.add_table("canvas", "things", "name:s40? note:text?", rows=9)
    run(init(replicator, "canvas.things"))
    execute(target, "CREATE VIEW public.notes AS SELECT id, note FROM canvas.things")
    simulator.alter("canvas", "things", "drop_column", "note")
    for _ in range(2):
        simulator.advance(0.2, ["canvas.things"])
        assert run(sync(replicator, "canvas.things")).dependents.broken == ("public.notes",)
    dependents = "SELECT kind, object FROM cd2.schema_changes WHERE kind LIKE 'dependent%' ORDER BY at"
    assert fetch(target, dependents) == [("dependent broken", "public.notes")]
    (change,) = run(status.read(replicator.replica))["schema_changes"]
    assert change["views"] == [{"name": "public.notes", "restored": False}]
    assert change["what"] == "column note dropped (text)"
    simulator.alter("canvas", "things", "add_column", "note", type="text")
    assert run(sync(replicator, "canvas.things")).dependents.restored == ("public.notes",)
    assert fetch(target, dependents)[1:] == [("dependent restored", "public.notes")]


def test_a_new_table_has_no_schema_changes(replicator: Replicator, database: str) -> None:
    run(init(replicator, "canvas.groups"))
    run(init(replicator, "canvas.groups"))
    assert rows(database, "SELECT FROM cd2.schema_changes") == []
