"""Views on a table whose schema changes: afterwards they are what they were, or nothing happened."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from local.postgres import EmbeddedPostgres, installation
from tests.replication.dependents_world import NARROW, WIDEN, World, difference, make_world, remove_roles


@pytest.fixture
def world(postgres: EmbeddedPostgres, database: str) -> Iterator[World]:
    made = make_world(database, postgres.create_role)
    yield made
    remove_roles(made)


CORPUS = {
    "alice": """
CREATE VIEW analytics.people AS SELECT id, name, email, lower(name) AS "lower Name" FROM canvas.users;
CREATE VIEW analytics.level2 AS SELECT * FROM analytics.people WHERE name <> '';
CREATE VIEW analytics.level3 AS SELECT * FROM analytics.level2;
CREATE MATERIALIZED VIEW analytics.level4 AS SELECT id, name, email FROM analytics.level3;
CREATE VIEW analytics.level5 AS SELECT l.*, c.title FROM analytics.level4 l JOIN canvas.courses c ON c.teacher_id = l.id;
GRANT SELECT ON analytics.people TO PUBLIC;
GRANT SELECT, INSERT ON analytics.level2 TO {bob} WITH GRANT OPTION;
GRANT SELECT (id, "lower Name"), UPDATE (name) ON analytics.people TO {bob};
GRANT SELECT ON analytics.level2 TO {etl};
REVOKE DELETE, TRUNCATE ON analytics.level3 FROM {alice};
REVOKE ALL ON analytics.level5 FROM {alice};
COMMENT ON VIEW analytics.people IS 'it''s \\ "people" {} $1 %s';
COMMENT ON COLUMN analytics.people."lower Name" IS 'Ünï';
COMMENT ON MATERIALIZED VIEW analytics.level4 IS E'two\nlines';
COMMENT ON COLUMN analytics.level4.email IS 'private';
CREATE UNIQUE INDEX level4_id ON analytics.level4 (id) INCLUDE (email) WITH (fillfactor = 70);
CREATE INDEX "level4 Lower" ON analytics.level4 (lower(name) text_pattern_ops DESC NULLS LAST) WHERE id > 0;
CREATE INDEX level4_nulls ON analytics.level4 USING hash (email);
ALTER MATERIALIZED VIEW analytics.level4 CLUSTER ON level4_id;
ALTER INDEX analytics."level4 Lower" ALTER COLUMN 1 SET STATISTICS 321;
COMMENT ON INDEX analytics.level4_id IS 'for REFRESH CONCURRENTLY';
ALTER MATERIALIZED VIEW analytics.level4 ALTER COLUMN name SET STATISTICS 77;
ALTER MATERIALIZED VIEW analytics.level4 ALTER COLUMN name SET STORAGE EXTERNAL;
ALTER MATERIALIZED VIEW analytics.level4 ALTER COLUMN name SET (n_distinct = -0.5);
ALTER MATERIALIZED VIEW analytics.level4 SET (autovacuum_enabled = off, fillfactor = 80, toast.autovacuum_enabled = off);
ALTER MATERIALIZED VIEW analytics.level4 REPLICA IDENTITY FULL;
CREATE STATISTICS analytics."level4 Stat" (dependencies, mcv) ON name, email FROM analytics.level4;
ALTER STATISTICS analytics."level4 Stat" SET STATISTICS 55;
COMMENT ON STATISTICS analytics."level4 Stat" IS 'they go together';
CREATE MATERIALIZED VIEW analytics.empty AS SELECT name, settings FROM canvas.users WITH NO DATA;
CREATE INDEX empty_gin ON analytics.empty USING gin (settings jsonb_path_ops);
CREATE MATERIALIZED VIEW analytics.mat_on_mat AS SELECT count(*) AS n FROM analytics.level4;
CREATE VIEW analytics.secure WITH (security_barrier, security_invoker = true) AS SELECT id, name FROM canvas.users;
CREATE VIEW analytics.checked AS SELECT id, name, email FROM canvas.users WHERE id > 0 WITH LOCAL CHECK OPTION;
CREATE VIEW analytics.checked_all AS SELECT * FROM analytics.checked WHERE name > '' WITH CASCADED CHECK OPTION;
ALTER VIEW analytics.checked ALTER COLUMN name SET DEFAULT 'nobody'::varchar || current_user;
CREATE VIEW analytics.whole AS SELECT u, u.name, (u).email FROM canvas.users u;
CREATE VIEW analytics.typed AS SELECT NULL::canvas.users AS nothing, NULL::analytics.people[] AS people;
CREATE MATERIALIZED VIEW analytics.stored_rows AS SELECT u AS "row", 1 AS one FROM canvas.users u;
CREATE VIEW analytics.grouped AS SELECT id, name, count(*) AS n FROM canvas.users GROUP BY id;
CREATE RECURSIVE VIEW analytics.chain (id, name, depth) AS
    SELECT id, name, 1 FROM canvas.users UNION ALL SELECT u.id, u.name, depth + 1 FROM chain JOIN canvas.users u
    ON u.id = chain.id + 1;
CREATE VIEW analytics.mixed (a, b) AS
    VALUES (1, 'x'::varchar) UNION ALL (SELECT DISTINCT ON (id) id, name FROM canvas.users ORDER BY id, name LIMIT 3);
CREATE VIEW analytics.fixed (a, b) AS VALUES (1, (SELECT max(name) FROM canvas.users));
CREATE VIEW analytics.windowed AS
    SELECT name, row_number() OVER w, '2024-01-02 03:04:05+01'::timestamptz AS at, interval '1 day 02:03' AS i,
           1.1::float8 AS f, E'back\\slash'::text AS s, name = NULL AS never, '\xdead'::bytea AS bytes
    FROM canvas.users WINDOW w AS (PARTITION BY school ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);
CREATE VIEW analytics.joined AS SELECT * FROM canvas.users u FULL JOIN canvas.courses c USING (id);
ALTER VIEW analytics.joined RENAME COLUMN title TO "Title";
CREATE VIEW analytics.lateral AS
    SELECT u.id, e.key, e.value, x.* FROM canvas.users u, LATERAL jsonb_each(u.settings) e,
    ROWS FROM (generate_series(1, 2), unnest(ARRAY[u.name])) WITH ORDINALITY AS x (a, "B b", c);
CREATE FUNCTION analytics.write_people() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "Write it" INSTEAD OF INSERT OR UPDATE ON analytics.grouped
    FOR EACH ROW EXECUTE FUNCTION analytics.write_people('a "b"', 'c');
CREATE TRIGGER after_it AFTER DELETE ON analytics.people FOR EACH STATEMENT EXECUTE FUNCTION analytics.write_people();
COMMENT ON TRIGGER "Write it" ON analytics.grouped IS 'writes';
CREATE RULE "Ins" AS ON INSERT TO analytics.secure WHERE NEW.id > 5 DO INSTEAD
    (INSERT INTO canvas.courses VALUES (NEW.id); SELECT name FROM analytics.on_secure);
""".replace("; SELECT name FROM analytics.on_secure", ""),
    "etl": """
CREATE SCHEMA "Berichte «Q»";
CREATE VIEW "Berichte «Q»"."Über ""alles"" . " AS SELECT name AS "Größe "" x", id FROM analytics.level2;
CREATE MATERIALIZED VIEW "Berichte «Q»"."Mat" AS SELECT * FROM "Berichte «Q»"."Über ""alles"" . ";
CREATE UNIQUE INDEX "Idx "" ü" ON "Berichte «Q»"."Mat" ("Größe "" x");
CREATE VIEW canvas.in_the_same_schema AS SELECT name FROM canvas.users;
CREATE SEQUENCE canvas.ticket;
ALTER SEQUENCE canvas.ticket OWNED BY canvas.in_the_same_schema.name;
""",
    # Rules that name a view above their own: a circle, for who only looks at dependencies.
    "alice again": """
CREATE VIEW analytics.on_secure AS SELECT id, name FROM analytics.secure;
CREATE RULE "Round" AS ON DELETE TO analytics.secure DO INSTEAD
    DELETE FROM canvas.courses WHERE id IN (SELECT id FROM analytics.on_secure);
COMMENT ON RULE "Ins" ON analytics.secure IS 'a rule';
""",
    "bob": "GRANT SELECT ON analytics.level2 TO PUBLIC",
}


def build(world: World) -> None:
    world.admin("GRANT USAGE ON SCHEMA analytics TO {bob}; GRANT {bob} TO {etl}")
    for role, statements in CORPUS.items():
        world.admin(statements, role=role.split()[0])


def all_views(world: World) -> list[str]:
    rows = world.admin(
        "SELECT nspname || '.' || relname FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('v', 'm') AND c.oid >= 16384"
    )
    return sorted(row[0] for row in rows)


def dump(world: World) -> list[str]:
    """What pg_dump says; the order of equals is by oid, so lines are sorted."""
    text = subprocess.run(
        [installation() / "bin/pg_dump", "--schema-only", "--exclude-schema=cd2", world.dsn],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(line.replace(" ", "") for line in text.splitlines() if not line.startswith(("--", "\\")))


def test_every_view_is_what_it_was_after_a_type_is_changed_and_changed_back(world: World) -> None:
    build(world)
    catalogue, dumped, views = world.catalogue(), dump(world), all_views(world)
    with pytest.raises(Exception, match="cannot alter type of a column used by a view"):
        world.admin(WIDEN, role="etl")
    first = world.alter(WIDEN)
    assert first.broken == ()
    assert sorted(first.restored) == views
    widened = {
        key: [row.replace("varying(500)", "varying(255)") for row in rows] for key, rows in world.catalogue().items()
    }
    assert difference(catalogue, widened) == []
    assert world.alter(NARROW) == first
    assert difference(catalogue, world.catalogue()) == []
    assert dump(world) == dumped
    assert world.journal() == []
