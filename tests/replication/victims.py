"""A simulator, a replica with views on it, and workers that may be killed at any time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.results import TableResult
from local.simulator.control import SimulatorControl
from tests.replication.killing import KillingProxy, wait_until_gone
from tests.replication.replica import assert_equal, make_replicator, run, target_of
from tests.replication.replica_state import Replica, assert_same, assert_tidy
from tests.replication.simulators import left_as_found
from tests.replication.worker import Worker, Workers, up_to_date
from tests.steps import init

COLUMNS = "*id:i64 name:s50? note:text? score:i32? kind:enum(a|b|c)? tags:text[]? legacy:s20?"
ROWS = 40
HOLD_REFRESH, HOLD_COMMIT = 77, 78
"""Advisory locks for which the materialized view's refresh and the commit wait, if another session has them."""

VIEWS = f"""
CREATE SCHEMA IF NOT EXISTS analytics;
CREATE FUNCTION analytics.turn() RETURNS int LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared({HOLD_REFRESH}); RETURN 1; END';
CREATE VIEW analytics.people WITH (security_barrier) AS SELECT id, name, kind, score FROM canvas.victims;
CREATE VIEW analytics.named AS SELECT id, upper(name) AS name, kind FROM analytics.people WHERE name IS NOT NULL;
CREATE MATERIALIZED VIEW analytics.counted AS SELECT id, name, analytics.turn() AS turn FROM analytics.named;
CREATE UNIQUE INDEX counted_id ON analytics.counted (id);
GRANT SELECT ON analytics.people TO pg_monitor;
GRANT SELECT (id, name) ON analytics.counted TO PUBLIC;
GRANT SELECT, UPDATE ON analytics.named TO pg_monitor WITH GRANT OPTION;
COMMENT ON VIEW analytics.people IS 'those who are there';
COMMENT ON COLUMN analytics.counted.name IS 'loud';
CREATE TABLE analytics.commits ();
CREATE FUNCTION analytics.hold_commit() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared({HOLD_COMMIT}); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON analytics.commits
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION analytics.hold_commit();
CREATE FUNCTION analytics.will_commit() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN SET CONSTRAINTS analytics.hold_commit DEFERRED; INSERT INTO analytics.commits DEFAULT VALUES;
     RETURN NULL; END';
CREATE TRIGGER will_commit AFTER INSERT OR UPDATE ON instructure_dap.table_sync
    FOR EACH ROW EXECUTE FUNCTION analytics.will_commit();
"""


class World:
    """The table `canvas.victims` with views on it, and what happens to it.

    :param database: DSN of the replica.
    """

    table = "canvas.victims"

    def __init__(self, control: SimulatorControl, database: str, workers: Workers) -> None:
        self.control = control
        self.database = database
        self.target: DatabaseTarget = target_of(database)
        self.workers = workers
        self.replicator = make_replicator(control, self.target)
        self._numbers = itertools.count(1)
        control.add_table("canvas", "victims", COLUMNS, ROWS)
        run(init(self.replicator, "canvas.victims"))
        self.execute(VIEWS)
        self.views = Replica.read(database, self.table).views

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(statements)

    def fresh_table(self) -> str:
        """A table that was never replicated."""
        name = f"fresh_{next(self._numbers)}"
        self.control.add_table("canvas", name, COLUMNS, ROWS)
        return f"canvas.{name}"

    # -- what happens at DAP ----------------------------------------------------------------------

    def change(self, *kinds: str) -> None:
        """Let rows change, after changes of the schema: add, widen, drop, retype, require, narrow.

        Without `delete`, no row goes.
        """
        for kind in [kind for kind in kinds if kind in ("drop", "require", "narrow")]:
            self._prepare(kind)
        for kind in kinds:
            self._alter(kind)
        self.control.advance(tables=[self.table], inserts=3, updates=8, deletes=3 if "delete" in kinds else 0)

    def _prepare(self, kind: str) -> None:
        """What is to go must have come before."""
        if kind == "narrow":
            self._alter_victims("add_enum_value", "kind", value="going")
        else:
            self._alter_victims("add_column", f"{kind}_{next(self._numbers)}", type="s20", backfill=True)
        self.control.advance(tables=[self.table], updates=1)
        self.update()

    def _alter(self, kind: str) -> None:
        number = next(self._numbers)
        match kind:
            case "add":
                self._alter_victims("add_column", f"added_{number}", type="enum(x|y)")
                self._alter_victims("add_enum_value", "kind", value=f"v{number}")
            case "widen":
                self._alter_victims("widen", "name", type=f"s{50 + number}")
            case "retype":
                now = self._types()["score"]
                self._alter_victims("retype", "score", type={"integer": "text", "text": "f64"}.get(now, "i32"))
            case "drop" | "require":
                column = next(name for name in reversed(self._types()) if name.startswith(f"{kind}_"))
                self._alter_victims("drop_column" if kind == "drop" else "not_null", column)
            case "narrow":
                self._alter_victims("drop_enum_value", "kind", value="going")

    def _alter_victims(self, change: str, column: str, **arguments: object) -> None:
        self.control.alter("canvas", "victims", change, column, **arguments)

    def _types(self) -> dict[str, str]:
        head = next(self.control.truth("canvas", "victims"))
        return {column["name"]: column["type"] for column in head["columns"]}

    # -- what the replica does --------------------------------------------------------------------

    def start(self, action: str, table: str | None = None, through: KillingProxy | None = None) -> Worker:
        """Start a worker, perhaps with a killer between it and PostgreSQL."""
        target = self.target
        if through is not None:
            target = replace(target, host="127.0.0.1", port=through.port)
        worker = self.workers.start(action, table or self.table, target)
        if through is not None:
            through.victim(worker.pid)
        return worker

    def proxy(self, **when: object) -> KillingProxy:
        """A killer in front of the replica's server."""
        return KillingProxy(self.target.host, self.target.port, **when)  # type: ignore[arg-type]

    def update(self, table: str | None = None) -> TableResult:
        """What the next run does."""
        return run(up_to_date(self.replicator, table or self.table))

    def recover(self) -> None:
        """Make the world as it should be, whatever a test that failed has left."""
        self.workers.kill_all()
        wait_until_gone(self.database)
        self.control.clear_faults()
        self.update()

    def tidy(self) -> None:
        """Take the columns that changes have left away again: with them grows what a load has to do.

        Not those of an enum, whose type would stay.
        """
        if left := [name for name in self._types() if name.startswith(("drop_", "require_"))]:
            for name in left:
                self._alter_victims("drop_column", name)
            self.update()

    def state(self, table: str | None = None) -> Replica:
        return Replica.read(self.database, table or self.table)

    def judge(self, before: Replica, table: str | None = None) -> str:
        """Whether a load that ended did nothing (`old`) or everything (`new`); anything else fails."""
        table = table or self.table
        wait_until_gone(self.database)
        now = self.state(table)
        if now.cursor == before.cursor:
            now.assert_still(before, table)
            return "old"
        assert_equal(self.control, self.database, table)
        assert_tidy(self.database, table)
        assert_same("views", now.views, self.views)
        assert_same("broken views", now.broken, {})
        return "new"

    def converge(self, table: str | None = None) -> None:
        """The next run, with no human in between, makes everything right."""
        self.control.clear_faults()
        self.update(table)
        assert_equal(self.control, self.database, table or self.table)
        assert_tidy(self.database, table or self.table)
        now = self.state(table)
        assert_same("views", now.views, self.views)
        assert_same("broken views", now.broken, {})
        self.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY analytics.counted")


@contextmanager
def world_of(control: SimulatorControl, database: str, workers: Workers) -> Iterator[World]:
    """A world in a prepared database; its tables are gone from the simulator afterwards."""
    with left_as_found(control):
        yield World(control, database, workers)
