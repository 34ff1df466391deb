"""docs/examples/text_views.sql shows all rows of a schema in types that every program knows."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from local.postgres import EmbeddedPostgres
from scripts.compile_constraints import ROOT

pytestmark = pytest.mark.infra

SCRIPT = ROOT / "docs" / "examples" / "text_views.sql"
TABLES = """
    CREATE SCHEMA canvas;
    CREATE TYPE canvas.users__workflow_state AS ENUM ('registered', 'deleted');
    CREATE TABLE canvas.users (
        id bigint PRIMARY KEY, name varchar(255), "Odd name" text, workflow_state canvas.users__workflow_state,
        settings jsonb, tags text[], states canvas.users__workflow_state[], created_at timestamp, score numeric(5, 2)
    );
    CREATE TABLE canvas.courses (id bigint PRIMARY KEY, name text);
    INSERT INTO canvas.users VALUES
        (1, 'Ada', 'x', 'registered', '{"a": 1}', '{a,b}', '{deleted}', '2026-01-01', 1.5);
    INSERT INTO canvas.users VALUES (2);
"""


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    name, reader = f"views_{secrets.token_hex(4)}", f"reader_{secrets.token_hex(4)}"
    postgres.create_database(name)
    postgres.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(reader)))
    with psycopg.connect(postgres.dsn(name)) as connection:
        connection.execute(TABLES)
        connection.execute(f"COMMENT ON SCHEMA canvas IS '{reader}'")
    yield postgres.dsn(name)
    postgres.drop_database(name)
    postgres.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(reader)))


def run(postgres: EmbeddedPostgres, dsn: str) -> str:
    """Run the script; returns the reader."""
    with psycopg.connect(dsn) as connection:
        (reader,) = connection.execute("SELECT obj_description('canvas'::regnamespace)").fetchone() or ("",)
    command = [str(postgres.psql_path), "-X", "-q", "-d", dsn, "-v", "source=canvas", "-v", "target=canvas_text"]
    done = subprocess.run(
        [*command, "-v", f"reader={reader}", "-f", str(SCRIPT)],
        capture_output=True, text=True, check=False, env=os.environ | {"PGOPTIONS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(reader)


def test_every_table_is_there_with_all_rows_and_plain_types(postgres: EmbeddedPostgres, dsn: str) -> None:
    reader = run(postgres, dsn)
    with psycopg.connect(dsn) as connection:
        types: dict[str, str] = dict(
            connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'canvas_text' "
                "AND table_name = 'users'"
            ).fetchall()
        )
        assert types == {
            "id": "bigint", "name": "character varying", "Odd name": "text", "workflow_state": "text",
            "settings": "text", "tags": "text", "states": "text", "created_at": "timestamp without time zone",
            "score": "numeric",
        }  # fmt: skip
        connection.execute(f"SET ROLE {reader}")
        rows = connection.execute(
            "SELECT id, workflow_state, settings, tags, states FROM canvas_text.users ORDER BY id"
        ).fetchall()
        assert rows == [(1, "registered", '{"a": 1}', "{a,b}", "{deleted}"), (2, None, None, None, None)]
        assert connection.execute("SELECT count(*) FROM canvas_text.courses").fetchone() == (0,)


def test_run_again_it_follows_the_tables(postgres: EmbeddedPostgres, dsn: str) -> None:
    run(postgres, dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE canvas.courses ADD COLUMN code text")
        connection.execute("CREATE TABLE canvas.roles (id bigint PRIMARY KEY)")
    run(postgres, dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT code FROM canvas_text.courses").fetchall() == []
        assert connection.execute("SELECT id FROM canvas_text.roles").fetchall() == []
