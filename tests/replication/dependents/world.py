"""A database of analysts for the tests of dependents: plain roles, a replicated table, and a look at the catalogue."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import psycopg
from psycopg import sql

from cd2.replication.bookkeeping.tables import BROKEN_DEPENDENTS, VIEW_TEXTS
from cd2.replication.dependents.restore import restore, retry_broken, save_and_drop
from cd2.replication.names import TableName
from cd2.replication.results import Dependents
from tests.replication.dependents.catalogue import read_catalogue, settings

T = TypeVar("T")

WIDEN = "ALTER TABLE canvas.users ALTER COLUMN name TYPE varchar(500)"
NARROW = "ALTER TABLE canvas.users ALTER COLUMN name TYPE varchar(255)"

TABLES = """
CREATE SCHEMA canvas AUTHORIZATION {etl};
CREATE SCHEMA cd2 AUTHORIZATION {etl};
CREATE SCHEMA analytics AUTHORIZATION {etl};
GRANT USAGE, CREATE ON SCHEMA analytics TO {alice};
GRANT USAGE ON SCHEMA canvas TO {alice};
SET ROLE {etl};
CREATE TABLE canvas.users (
    id bigint CONSTRAINT pk_users PRIMARY KEY, name varchar(255), email varchar(255), school text, settings jsonb);
CREATE TABLE canvas.courses (id bigint PRIMARY KEY, teacher_id bigint, title varchar(100));
INSERT INTO canvas.users VALUES (1, 'Ada', 'ada@example.org', 'North', '{"a": 1}'),
                                (2, 'Bo', 'bo@example.org', 'South', '{"b": [1, 2]}');
INSERT INTO canvas.courses VALUES (10, 1, 'Logic'), (11, 2, 'Rhetoric');
GRANT SELECT ON canvas.users, canvas.courses TO {alice} WITH GRANT OPTION;
RESET ROLE
"""


CORPUS = {
    "alice": """
CREATE VIEW analytics.people AS SELECT id, name, email, lower(name) AS "lower Name" FROM canvas.users;
CREATE VIEW analytics.level2 AS SELECT * FROM analytics.people WHERE name <> '';
CREATE VIEW analytics.level3 AS SELECT * FROM analytics.level2;
CREATE MATERIALIZED VIEW analytics.level4 AS SELECT id, name, email FROM analytics.level3;
CREATE VIEW analytics.level5 AS
    SELECT l.*, c.title FROM analytics.level4 l JOIN canvas.courses c ON c.teacher_id = l.id;
GRANT SELECT ON analytics.people TO PUBLIC;
GRANT SELECT, INSERT ON analytics.level2 TO {bob} WITH GRANT OPTION;
GRANT SELECT (id, "lower Name"), UPDATE (name) ON analytics.people TO {bob};
GRANT SELECT ON analytics.level2 TO {etl};
REVOKE DELETE, TRUNCATE ON analytics.level3 FROM {alice};
REVOKE ALL ON analytics.level5 FROM {alice};
COMMENT ON VIEW analytics.people IS 'it''s \\ "people" {} $1 %s';
COMMENT ON TYPE analytics.people IS 'its rows';
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
ALTER MATERIALIZED VIEW analytics.level4
    SET (autovacuum_enabled = off, fillfactor = 80, toast.autovacuum_enabled = off);
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
    (INSERT INTO canvas.courses VALUES (NEW.id); UPDATE canvas.users SET name = NEW.name WHERE id = NEW.id);
""",
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


@dataclass
class World:
    """A database with the plain roles `etl` (owns the tables), `alice` (an analyst that etl is a member of) and `bob`.

    In statements, `{etl}`, `{alice}` and `{bob}` are the quoted names of the roles.
    """

    dsn: str
    roles: dict[str, str] = field(default_factory=dict)

    def text(self, statements: str) -> str:
        for key in self.roles:
            statements = statements.replace("{" + key + "}", self.quoted(key))
        return statements

    def quoted(self, key: str) -> str:
        """A role's name as SQL."""
        return '"' + self.roles[key].replace('"', '""') + '"'

    def admin(self, statements: str, *, role: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements as superuser, or as one of the roles; rows of the last one."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            if role:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.roles[role])))
            cursor = connection.execute(self.text(statements))
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    async def connect(self, role: str = "etl") -> asyncpg.Connection:
        parts = urlsplit(self.dsn)
        name = self.roles[role]
        return await asyncpg.connect(
            host=parts.hostname, port=parts.port, database=parts.path.lstrip("/"), user=name, password=name
        )

    def as_etl(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Do something in one transaction of the plain role that owns the tables; it commits."""

        async def run() -> T:
            connection = await self.connect()
            try:
                before = await settings(connection)
                async with connection.transaction():
                    result = await work(connection)
                    assert await settings(connection) == before
                return result
            finally:
                await connection.close()

        return asyncio.run(run())

    def alter(self, *statements: str, table: str = "users") -> Dependents:
        """Change a table as a sync does: save and drop, DDL, restore."""

        async def work(connection: asyncpg.Connection) -> Dependents:
            saved = await save_and_drop(connection, TableName("canvas", table))
            for statement in statements:
                await connection.execute(statement)
            return await restore(connection, saved)

        return self.as_etl(work)

    def retry(self, table: str = "users") -> Dependents:
        return self.as_etl(lambda connection: retry_broken(connection, TableName("canvas", table)))

    def journal(self) -> list[tuple[Any, ...]]:
        return self.admin("SELECT schema_name || '.' || view_name, missing FROM cd2.broken_dependents ORDER BY id")

    def catalogue(self) -> dict[str, list[str]]:
        """All that the catalogue says about all schemas but cd2, by names instead of oids."""
        return read_catalogue(self.dsn)


def make_world(dsn: str, superuser: Callable[..., None]) -> World:
    """Roles are the cluster's: their names are random, and uncomfortable."""
    world = World(dsn)
    for key in ("etl", "alice", "bob"):
        name = f'{key} "Ü" {secrets.token_hex(4)}'
        superuser(name, name)
        world.roles[key] = name
    world.admin(TABLES)
    world.admin("GRANT {alice} TO {etl}")
    world.admin("DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO %s', current_database(), '{etl}'); END $$")
    world.admin(BROKEN_DEPENDENTS, role="etl")
    world.admin(VIEW_TEXTS, role="etl")
    return world


def remove_roles(world: World) -> None:
    """Remove what belongs to the roles, and the roles."""
    for key in world.roles:
        world.admin(f"DROP OWNED BY {world.quoted(key)} CASCADE")
    world.admin(f"DROP ROLE {', '.join(world.quoted(key) for key in world.roles)}")
