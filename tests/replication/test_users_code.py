"""User code sees rows: what it raises is never quoted, whatever it says and whatever SQLSTATE it chooses."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest

from cd2.notification.message import compose
from cd2.notification.status import status_of
from cd2.notification.summary import RunSummary
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import Cd2Error, StopAll, TableFailure, TransientError
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from local.simulator.control import SimulatorControl
from tests.replication.people import Load, admin, by_each_load
from tests.replication.replica import execute, run
from tests.steps import init, sync

TABLE = "canvas.parcels"
SECRET = "Mueller-4711"
"""What is in every row; it must appear nowhere."""
SQLSTATES = (
    "P0001", "P0002", "P0004", "08006", "08P01", "0A000", "22023", "23502", "23503", "23505", "23514", "25006", "25P03",
    "26000", "28000", "28P01", "2BP01", "38000", "39000", "3D000", "40001", "40P01", "42501", "42601", "42703", "42704",
    "42710", "42P01", "42P05", "42P07", "53100", "53300", "53400", "54000", "55000", "55006", "55P03", "57014", "57P01",
    "57P03", "58030", "F0000", "HV000", "XX000", "XX001", "MUELL",
)  # fmt: skip
RAISE = """
CREATE FUNCTION public.blab() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
    RAISE EXCEPTION 'row %', NEW.note USING ERRCODE = '{}', DETAIL = NEW.note, HINT = NEW.note, SCHEMA = NEW.note,
        TABLE = NEW.note, COLUMN = NEW.note, CONSTRAINT = NEW.note, DATATYPE = NEW.note;
END $f$;
CREATE TRIGGER blabs BEFORE INSERT OR UPDATE ON canvas.parcels FOR EACH ROW EXECUTE FUNCTION public.blab();"""


def plpgsql(body: str, arguments: str = "", result: str = "trigger") -> str:
    head = f"CREATE FUNCTION public.blab({arguments}) RETURNS {result} IMMUTABLE LANGUAGE plpgsql"
    return f"{head} AS $f$ BEGIN {body} END $f$;"


BLABS = "CREATE TRIGGER blabs {} ON canvas.parcels FOR EACH ROW EXECUTE FUNCTION public.blab();"
CHECKED = "ALTER TABLE canvas.parcels ADD CONSTRAINT blabs CHECK ({}) NOT VALID;"
# What code and expressions do with a value, and what the sentence names.
CODE: dict[str, tuple[str, str]] = {
    "a deferred trigger": (
        plpgsql("RAISE EXCEPTION '%', NEW.note; RETURN NULL;")
        + "CREATE CONSTRAINT TRIGGER blabs AFTER INSERT OR UPDATE ON canvas.parcels DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION public.blab();",
        "public.blab() of the trigger blabs on canvas.parcels",
    ),
    "dynamic SQL": (
        plpgsql("EXECUTE NEW.note; RETURN NEW;") + BLABS.format("BEFORE UPDATE"),
        "public.blab() of the trigger blabs on canvas.parcels",
    ),
    "an unknown relation": (
        plpgsql("PERFORM NEW.note::regclass; RETURN NEW;") + BLABS.format("BEFORE UPDATE"),
        "public.blab() of the trigger blabs on canvas.parcels",
    ),
    "a cast": (
        plpgsql("PERFORM NEW.note::int; RETURN NEW;") + BLABS.format("AFTER UPDATE"),
        "public.blab() of the trigger blabs on canvas.parcels",
    ),
    "an insert into another table": (
        "CREATE TABLE public.audit (note varchar(3));"
        + plpgsql("INSERT INTO public.audit VALUES (NEW.note); RETURN NEW;").replace("IMMUTABLE", "")
        + BLABS.format("AFTER UPDATE"),
        "public.blab() of the trigger blabs on canvas.parcels",
    ),
    "an assertion": (
        plpgsql("ASSERT false, NEW.note; RETURN NEW;") + BLABS.format("BEFORE UPDATE"),
        "public.blab() of the trigger blabs on canvas.parcels",
    ),
    "a nested function": (
        "CREATE FUNCTION public.inner_one(note text) RETURNS int LANGUAGE plpgsql AS "
        "$f$ BEGIN RAISE EXCEPTION '%', note; END $f$;"
        + plpgsql("PERFORM public.inner_one(NEW.note); RETURN NEW;").replace("IMMUTABLE", "")
        + BLABS.format("BEFORE UPDATE"),
        "the function public.inner_one(text)",
    ),
    "a check by a function": (
        plpgsql("RAISE EXCEPTION '%', note;", "note text", "boolean") + CHECKED.format("public.blab(note)"),
        "the function public.blab(text)",
    ),
    "a function in SQL": (
        "CREATE FUNCTION public.blab(note text) RETURNS regclass LANGUAGE sql AS 'SELECT note::regclass LIMIT 1';"
        + CHECKED.format("public.blab(note) IS NOT NULL"),
        "public.blab(text)",
    ),
    "a check by a cast": (CHECKED.format("note::int > 0"), "constraint blabs"),
    "a check by a name": (CHECKED.format("note::regclass IS NOT NULL"), "constraint blabs"),
    "a check by a role": (CHECKED.format("note::regrole IS NOT NULL"), "constraint blabs"),
    "a check by a setting": (CHECKED.format("current_setting(note) IS NOT NULL"), "constraint blabs"),
    "a check by a privilege": (CHECKED.format("has_database_privilege(note, 'CONNECT')"), "constraint blabs"),
    "a check by a time zone": (CHECKED.format("timezone(note, now()) IS NOT NULL"), "constraint blabs"),
    "a check by a unit": (CHECKED.format("date_trunc(note, now()) IS NOT NULL"), "constraint blabs"),
    "a check by a pattern": (CHECKED.format("'x' ~ ('[' || note)"), "constraint blabs"),
    "an index of an expression": (
        "UPDATE canvas.parcels SET note = '1'; CREATE INDEX blabs ON canvas.parcels ((note::int));",
        "index blabs",
    ),
    "a generated column": (
        "UPDATE canvas.parcels SET note = '1';"
        "ALTER TABLE canvas.parcels ADD blabs int GENERATED ALWAYS AS (note::int) STORED;",
        "generated column blabs",
    ),
}


@pytest.fixture
def parcels(simulator: SimulatorControl, replicator: Replicator, target: DatabaseTarget) -> str:
    """A table whose next load changes every row; the cursor that brings it."""
    simulator.add_table("canvas", "parcels", "note:text?", rows=3)
    run(init(replicator, TABLE))
    cursor = execute(target, "SELECT timestamp::text FROM instructure_dap.table_sync")
    simulator.advance(tables=[TABLE], updates=3)
    assert run(sync(replicator, TABLE)).rows_upserted == 3
    return cursor


def again(target: DatabaseTarget, cursor: str) -> None:
    """Let the next load write every row once more."""
    execute(target, f"UPDATE canvas.parcels SET note = '{SECRET}'")
    execute(target, f"UPDATE instructure_dap.table_sync SET timestamp = '{cursor}'")


def reports(result: TableResult) -> dict[str, str]:
    """What people read about a run: its notification as mail and for a chat, and the status for the page."""
    summary = RunSummary("prod", "run", datetime.now(UTC), datetime.now(UTC), (result,))
    messages = [compose(summary, form) for form in ("text", "chatbot")]
    assert all(str(result.table) in message.body for message in messages)
    texts = {
        f"notification {number}": f"{message.subject} {message.body} {message.attributes}"
        for number, message in enumerate(messages)
    }
    return texts | {"status": json.dumps(status_of(summary, {}))}


def records(target: DatabaseTarget) -> dict[str, str]:
    """What is kept about loads."""
    return {
        name: execute(target, f"SELECT string_agg(r::text, ' ') FROM cd2.{name} r")
        for name in ("freshness", "loads", "schema_changes", "status")
    } | {"broken_dependents": execute(target, "SELECT string_agg(error, ' ') FROM cd2.broken_dependents")}


def blabbed(
    failure: Cd2Error, target: DatabaseTarget, caplog: pytest.LogCaptureFixture, values: list[str]
) -> list[str]:
    """The places where a value of a row appears."""
    assert failure.result
    places = {
        **reports(failure.result),
        "log": caplog.text,
        "result": json.dumps(failure.result.to_json()),
        "message": failure.message,
        **records(target),
    }
    return [place for place, text in places.items() if any(value in text for value in values)]


def values_of(target: DatabaseTarget, database: str) -> list[str]:
    """The texts of the rows that the next load brings."""
    notes = execute(target, "SELECT string_agg(note, '|') FROM canvas.parcels").split("|")
    return [note for note in notes if len(note) > 3]


def test_whatever_a_trigger_raises_fails_the_table_and_is_not_quoted(
    parcels: str, replicator: Replicator, database: str, target: DatabaseTarget, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even SQLSTATEs that would stop all tables, or retry, mean anything then."""
    caplog.set_level(logging.DEBUG)
    values = values_of(target, database)
    assert values
    again(target, parcels)
    for sqlstate in SQLSTATES:
        admin(database, RAISE.format(sqlstate))
        with pytest.raises(TableFailure) as caught:
            run(sync(replicator, TABLE))
        failure = caught.value
        assert type(failure) is TableFailure, sqlstate
        assert "the function public.blab() of the trigger blabs on canvas.parcels" in failure.message
        assert "Its text is not shown, because it may hold values of rows" in failure.message
        assert blabbed(failure, target, caplog, [*values, "MUELL"]) == [], sqlstate
        admin(database, "DROP FUNCTION public.blab() CASCADE")


@by_each_load(CODE)
def test_what_code_and_expressions_make_of_a_value_is_not_quoted(
    what: str,
    load: Load,
    parcels: str,
    replicator: Replicator,
    database: str,
    target: DatabaseTarget,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    values = values_of(target, database)
    again(target, parcels)
    statements, named = CODE[what]
    admin(database, statements)
    with pytest.raises(TableFailure) as caught:
        run(load(replicator, TABLE))
    assert not isinstance(caught.value, StopAll)
    assert named in caught.value.message
    assert blabbed(caught.value, target, caplog, [*values, SECRET]) == []


def test_what_is_retried_names_the_code_that_causes_it_each_time(
    parcels: str, replicator: Replicator, database: str, target: DatabaseTarget
) -> None:
    """A trigger that empties its own table met a lock of our own transaction (55006), for ever and without a name."""
    again(target, parcels)
    code = plpgsql("TRUNCATE canvas.parcels; RETURN NULL;").replace("IMMUTABLE", "")
    admin(database, code + BLABS.format("AFTER UPDATE"))
    with pytest.raises(TransientError, match=r"It came from user code: .*public\.blab\(\) of the trigger blabs on"):
        run(sync(replicator, TABLE))


@pytest.mark.parametrize("sqlstate", ["P0001", "22023", "40001", "42710", "53100", "55P03"])
def test_code_that_a_schema_change_runs_over_old_rows_is_not_quoted(
    sqlstate: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A view's refresh, an index, a check: what cannot be restored is noted without the text of its error."""
    caplog.set_level(logging.DEBUG)
    simulator.add_table("canvas", "parcels", "note:s40 state:enum(a|b|c)", rows=3)
    run(init(replicator, TABLE))
    values = values_of(target, database)
    admin(
        database,
        "CREATE TABLE public.switch AS SELECT false AS raises;"
        "CREATE FUNCTION public.blab(note text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $f$ BEGIN "
        f"IF (SELECT s.raises FROM public.switch s) THEN RAISE EXCEPTION '%', note "
        f"USING ERRCODE = '{sqlstate}', DETAIL = note; END IF; RETURN 1; END $f$;"
        "CREATE MATERIALIZED VIEW public.blabs AS SELECT public.blab(note), note FROM canvas.parcels;"
        "CREATE INDEX blabs ON canvas.parcels (public.blab(note));"
        "ALTER TABLE canvas.parcels ADD CONSTRAINT blabs_too CHECK (public.blab(note) = 1);"
        "UPDATE public.switch SET raises = true",
    )
    simulator.alter("canvas", "parcels", "widen", "note", type="s200")
    try:
        result: TableResult | None = run(sync(replicator, TABLE))
    except TableFailure as failure:
        result = failure.result
    assert result
    text = " ".join([caplog.text, json.dumps(result.to_json()), *reports(result).values(), *records(target).values()])
    assert "blab" in text
    assert [value for value in values if value in text] == []
