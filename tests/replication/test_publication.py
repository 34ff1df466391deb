"""Our tables in a publication: logical replication brings them to a second PostgreSQL, through every kind of load."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.postgres import EmbeddedPostgres
from local.simulator.control import SimulatorControl
from tests.replication.people import admin
from tests.replication.replica import assert_equal, execute, make_replicator, prepare, run, target_of
from tests.steps import init, sync

CRATES = "canvas.crates"
CAUGHT_UP_S = 120.0
TABLES = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'canvas'::regnamespace AND c.relkind = 'r' ORDER BY 1, 2"""


@pytest.fixture
def published(replicator: Replicator, simulator: SimulatorControl, database: str) -> str:
    """A table, not yet initialized, in a database all of whose tables are published."""
    simulator.add_table("canvas", "crates", "state:enum(a|b|c) note:text?", rows=12)
    admin(database, "CREATE PUBLICATION everything FOR ALL TABLES")
    return CRATES


def test_repeated_keys_of_a_snapshot_are_gone_before_they_could_be_published(
    published: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """PostgreSQL refuses to delete rows from a published table without a key (55000)."""
    simulator.fault("canvas", "crates", "duplicate_key")
    run(init(replicator, published))
    assert_equal(simulator, database, published)


def test_the_repeated_keys_of_a_list_are_gone_too(
    replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    simulator.add_table("canvas", "crates", "words:text[]? note:text?", rows=12)
    admin(database, "CREATE PUBLICATION everything FOR TABLES IN SCHEMA canvas")
    simulator.fault("canvas", "crates", "duplicate_key")
    run(init(replicator, CRATES))
    assert_equal(simulator, database, CRATES)


def test_a_published_table_that_lost_its_key_gets_it_back(
    published: str, replicator: Replicator, simulator: SimulatorControl, database: str, target: DatabaseTarget
) -> None:
    run(init(replicator, published))
    admin(database, f"ALTER TABLE {CRATES} DROP CONSTRAINT pk_crates")
    simulator.advance(tables=[CRATES], updates=3, deletes=2)
    assert run(sync(replicator, CRATES)).state == "needs_init"
    assert run(init(replicator, CRATES)).state == "initialized"
    assert execute(target, f"SELECT relreplident FROM pg_class WHERE oid = '{CRATES}'::regclass") == "b'd'"
    assert_equal(simulator, database, CRATES)


def test_a_published_table_whose_identity_people_took_is_named(
    published: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    run(init(replicator, published))
    admin(database, f"ALTER TABLE {CRATES} REPLICA IDENTITY NOTHING")
    simulator.advance(tables=[CRATES], updates=3)
    with pytest.raises(TableFailure, match=r"has no replica identity, so PostgreSQL refuses both") as caught:
        run(sync(replicator, CRATES))
    statement = re.search(r"Run (ALTER TABLE .*), then clear", caught.value.message)
    assert statement
    admin(database, statement.group(1))
    run(sync(replicator, CRATES))
    assert_equal(simulator, database, CRATES)


@pytest.mark.parametrize(
    "what", ["WHERE (note <> 'x')", "(note)", "(id, note) WHERE (note <> 'x') WITH (publish = 'insert, delete')"]
)
def test_a_publication_whose_filter_or_list_does_not_fit_is_named(
    what: str, published: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """PostgreSQL refuses updates and deletes then (42P10), and says only that it does."""
    run(init(replicator, published))
    admin(database, f'CREATE PUBLICATION "some of them" FOR TABLE {CRATES} {what}')
    admin(database, f"CREATE PUBLICATION inserts FOR TABLE {CRATES} WHERE (note <> 'x') WITH (publish = 'insert')")
    admin(database, f"CREATE PUBLICATION fits FOR TABLE {CRATES} (id, note) WHERE (id > 0)")
    simulator.advance(tables=[CRATES], inserts=2, updates=3, deletes=2)
    with pytest.raises(TableFailure, match='of the publication "some of them" does not fit') as caught:
        run(sync(replicator, CRATES))
    assert caught.value.type == "42P10"
    statement = re.search(r"Run (ALTER PUBLICATION .*), then clear", caught.value.message)
    assert statement
    admin(database, statement.group(1))
    assert run(sync(replicator, CRATES)).rows_deleted == 2
    assert_equal(simulator, database, CRATES)
    # What the sentence says of the next time.
    for fits in ("WHERE (id > 0)", "(id, note)"):
        admin(database, f'ALTER PUBLICATION "some of them" SET TABLE {CRATES} {fits}')
        simulator.advance(tables=[CRATES], updates=3, deletes=1)
        assert run(sync(replicator, CRATES)).rows_deleted == 1


def test_a_published_table_of_people_whose_rows_a_foreign_key_changes_is_named(
    published: str, replicator: Replicator, simulator: SimulatorControl, database: str
) -> None:
    """PostgreSQL refuses to change them, if nothing tells them apart (55000)."""
    run(init(replicator, published))
    admin(
        database,
        f"CREATE TABLE public.shelves (id int, crate bigint UNIQUE REFERENCES {CRATES} ON DELETE CASCADE);"
        f"CREATE TABLE public.cards (crate bigint REFERENCES shelves (crate) ON DELETE SET NULL);"
        f"INSERT INTO public.shelves SELECT 1, id FROM {CRATES}; INSERT INTO public.cards SELECT crate FROM shelves",
    )
    simulator.advance(tables=[CRATES], updates=3, deletes=2)
    with pytest.raises(TableFailure, match=r"foreign keys change public\.cards and public\.shelves together") as caught:
        run(sync(replicator, CRATES))
    statements = re.search(r"or run (ALTER TABLE .*), then clear", caught.value.message)
    assert statements
    admin(database, statements.group(1))
    assert run(sync(replicator, CRATES)).rows_deleted == 2
    assert_equal(simulator, database, CRATES)


@pytest.fixture
def two_servers(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """One that publishes, and one that subscribes."""
    with EmbeddedPostgres(tmp_path / "publisher", durable=False) as publisher:
        publisher.execute(sql.SQL("ALTER SYSTEM SET wal_level = 'logical'"))
        publisher.stop()
        publisher.start()
        with EmbeddedPostgres(tmp_path / "subscriber", durable=False) as subscriber:
            yield publisher, subscriber


class Subscription:
    """The second database, whose tables follow by `SUBSCRIPTION followed`."""

    def __init__(self, publisher: str, subscriber: str) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        admin(publisher, "CREATE PUBLICATION everything FOR ALL TABLES")

    def follow(self, *statements: str) -> None:
        """Change the second database as its keepers would: logical replication copies no DDL."""
        admin(self._subscriber, ";".join(statements))
        with psycopg.connect(self._subscriber, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_subscription").fetchone():
                connection.execute("ALTER SUBSCRIPTION followed REFRESH PUBLICATION")
            else:
                connection.execute(
                    f"CREATE SUBSCRIPTION followed CONNECTION '{self._publisher}' PUBLICATION everything".encode()
                )

    def wait_until_equal(self) -> None:
        until = time.monotonic() + CAUGHT_UP_S
        while (there := self._rows(self._subscriber)) != (here := self._rows(self._publisher)):
            assert time.monotonic() < until, (here, there)
            time.sleep(0.2)

    def _rows(self, dsn: str) -> object:
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                f"SELECT id, state::text, to_jsonb(c) - 'state' FROM {CRATES} c ORDER BY id".encode()
            )
            return rows.fetchall(), connection.execute(TABLES).fetchall()


TABLE = (
    "CREATE SCHEMA canvas",
    "CREATE TYPE canvas.crates__state AS ENUM ('a', 'b', 'c', '__dap_unspecified__')",
    f"CREATE TABLE {CRATES} (id bigint PRIMARY KEY, state canvas.crates__state NOT NULL, note text)",
)


@pytest.mark.slow
def test_a_second_postgresql_follows_through_init_sync_reinit_and_schema_changes(
    two_servers: tuple[EmbeddedPostgres, EmbeddedPostgres], simulator: SimulatorControl
) -> None:
    publisher, subscriber = two_servers
    for server in two_servers:
        server.create_database("followed")
    ours, theirs = publisher.dsn("followed"), subscriber.dsn("followed")
    target = target_of(ours)
    prepare(target)
    replicator = make_replicator(simulator, target)
    simulator.add_table("canvas", "crates", "state:enum(a|b|c) note:text?", rows=40)
    simulator.fault("canvas", "crates", "duplicate_key")
    subscription = Subscription(ours, theirs)
    for schema in ("cd2", "instructure_dap"):
        copy_of_schema(ours, theirs, schema)

    run(init(replicator, CRATES))
    subscription.follow(*TABLE)
    subscription.wait_until_equal()

    simulator.advance(tables=[CRATES], inserts=9, updates=9, deletes=9)
    run(sync(replicator, CRATES))
    subscription.wait_until_equal()

    simulator.advance(tables=[CRATES], inserts=3, updates=3, deletes=3)
    assert run(init(replicator, CRATES)).action == "reinit"
    subscription.wait_until_equal()

    # What is added is made there first; what is dropped, or made stricter, goes there afterwards.
    simulator.alter("canvas", "crates", "add_column", "weight", type="i32")
    simulator.alter("canvas", "crates", "add_enum_value", "state", value="d")
    subscription.follow(f"ALTER TABLE {CRATES} ADD weight integer", "ALTER TYPE canvas.crates__state ADD VALUE 'd'")
    simulator.advance(tables=[CRATES], inserts=5, updates=20)
    assert run(sync(replicator, CRATES)).state == "complete_with_schema_update"
    subscription.wait_until_equal()

    simulator.alter("canvas", "crates", "drop_column", "note")
    simulator.alter("canvas", "crates", "drop_enum_value", "state", value="b")
    simulator.advance(tables=[CRATES], inserts=5, updates=5, deletes=5)
    assert run(sync(replicator, CRATES)).state == "complete_with_schema_update"
    subscription.follow(f"ALTER TABLE {CRATES} DROP COLUMN note")
    subscription.wait_until_equal()

    # Another key: all rows are replaced.
    admin(ours, f"ALTER TABLE {CRATES} DROP CONSTRAINT pk_crates")
    simulator.advance(tables=[CRATES], inserts=5, updates=5, deletes=5)
    assert run(init(replicator, CRATES)).state == "initialized"
    subscription.wait_until_equal()
    simulator.advance(tables=[CRATES], inserts=5, updates=5, deletes=5)
    run(sync(replicator, CRATES))
    subscription.wait_until_equal()
    assert_equal(simulator, ours, CRATES)


def copy_of_schema(source: str, destination: str, schema: str) -> None:
    """Tables with the same columns and keys."""
    with psycopg.connect(source) as connection:
        columns = connection.execute(
            "SELECT c.relname, string_agg(format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '"
            " ORDER BY attnum), (SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k"
            " WHERE k.conrelid = c.oid AND k.contype = 'p') FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid"
            " WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped"
            " GROUP BY c.oid",
            [schema],
        ).fetchall()
    admin(destination, f"CREATE SCHEMA {schema}")
    for name, definition, key in columns:
        admin(destination, f"CREATE TABLE {schema}.{name} ({definition}{', ' + key if key else ''})")
