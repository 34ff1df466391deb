"""A database of analysts for the tests of dependents: plain roles, a replicated table, and a look at the catalogue."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import psycopg
from psycopg import sql

from cd2.replication.dependents import CREATE_BROKEN_DEPENDENTS, restore, retry_broken, save_and_drop
from cd2.results import Dependents

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
            cursor = connection.execute(self.text(statements))  # type: ignore[arg-type]
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
            saved = await save_and_drop(connection, "canvas", table)
            for statement in statements:
                await connection.execute(statement)
            return await restore(connection, saved)

        return self.as_etl(work)

    def retry(self, table: str = "users") -> Dependents:
        return self.as_etl(lambda connection: retry_broken(connection, "canvas", table))

    def journal(self) -> list[tuple[Any, ...]]:
        return self.admin("SELECT schema_name || '.' || view_name, missing FROM cd2.broken_dependents ORDER BY id")

    def catalogue(self) -> dict[str, list[str]]:
        """All that the catalogue says about all schemas but cd2, by names instead of oids."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("SET search_path = pg_catalog")
            return {
                name: sorted(json.dumps(row[0], sort_keys=True) for row in connection.execute(query))  # type: ignore[arg-type]
                for name, query in CATALOGUE.items()
            }


async def settings(connection: asyncpg.Connection) -> dict[str, str]:
    """All settings of a session, and its role."""
    rows = await connection.fetch("SELECT name, setting FROM pg_settings")
    role = await connection.fetchval("SELECT current_user || current_setting('role')")
    return {row["name"]: row["setting"] for row in rows} | {"role": role}


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """What is only in one of two looks at the catalogue."""
    left = {f"{name} {row}" for name, rows in before.items() for row in rows}
    right = {f"{name} {row}" for name, rows in after.items() for row in rows}
    return sorted(f"- {row}" for row in left - right) + sorted(f"+ {row}" for row in right - left)


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
    world.admin(CREATE_BROKEN_DEPENDENTS, role="etl")
    return world


def remove_roles(world: World) -> None:
    """Remove what belongs to the roles, and the roles."""
    roles = ", ".join(world.quoted(key) for key in world.roles)
    world.admin(f"DROP OWNED BY {roles} CASCADE")
    world.admin(f"DROP ROLE {roles}")


_ACL = """(
    SELECT coalesce(jsonb_agg(jsonb_build_array(
        grantor::regrole::text, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type,
        is_grantable) ORDER BY grantor, grantee, privilege_type, is_grantable), '[]')
    FROM aclexplode({acl}))"""
_OURS = """
    SELECT c.*, n.nspname || '.' || c.relname AS identity FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'cd2') AND n.nspname !~ '^pg_(toast|temp)'"""
# Rules without white space: PostgreSQL itself indents VALUES differently the second time.
CATALOGUE = {
    "pg_class": f"""
        SELECT to_jsonb(c) - '{{oid,relnamespace,reltype,reloftype,relfilenode,relpages,reltuples,relallvisible,
                               reltoastrelid,relfrozenxid,relminmxid,relacl}}'::text[]
               || jsonb_build_object('relowner', relowner::regrole::text,
                                     'acl', {_ACL.format(acl="coalesce(relacl, acldefault('r', relowner))")},
                                     'toast', (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid))
        FROM ({_OURS}) AS c WHERE relkind <> 'S'""",
    "pg_attribute": f"""
        SELECT to_jsonb(a) - '{{attrelid,atttypid,atttypmod,attcollation,attacl,attlen}}'::text[]
               || jsonb_build_object('relation', c.identity, 'type', format_type(atttypid, atttypmod),
                                     'collation', attcollation::regcollation::text,
                                     'acl', {_ACL.format(acl="attacl")},
                                     'comment', col_description(c.oid, attnum))
        FROM ({_OURS}) AS c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'""",
    "pg_rewrite": f"""
        SELECT jsonb_build_array(identity, rulename, ev_enabled, translate(pg_get_ruledef(r.oid), E' \\n', ''))
        FROM ({_OURS}) AS c JOIN pg_rewrite r ON ev_class = c.oid""",
    "pg_trigger": f"""
        SELECT jsonb_build_array(identity, tgenabled, pg_get_triggerdef(t.oid))
        FROM ({_OURS}) AS c JOIN pg_trigger t ON tgrelid = c.oid WHERE NOT tgisinternal""",
    "pg_attrdef": f"""
        SELECT jsonb_build_array(identity, adnum, pg_get_expr(adbin, adrelid))
        FROM ({_OURS}) AS c JOIN pg_attrdef d ON adrelid = c.oid""",
    "pg_index": f"""
        SELECT to_jsonb(i) - '{{indexrelid,indrelid,indclass,indcollation,indexprs,indpred,indcheckxmin}}'::text[]
               || jsonb_build_object('definition', pg_get_indexdef(i.indexrelid))
        FROM ({_OURS}) AS c JOIN pg_index i ON indrelid = c.oid""",
    "pg_statistic_ext": f"""
        SELECT jsonb_build_array(identity, stxstattarget, stxowner::regrole::text, pg_get_statisticsobjdef(s.oid))
        FROM ({_OURS}) AS c JOIN pg_statistic_ext s ON stxrelid = c.oid""",
    "pg_description": """
        SELECT jsonb_build_array(pg_describe_object(classoid, objoid, objsubid), description)
        FROM pg_description WHERE objoid >= 16384""",
    "pg_depend": """
        SELECT to_jsonb(d) FROM (
            SELECT DISTINCT pg_describe_object(classid, objid, objsubid) AS object,
                   pg_describe_object(refclassid, refobjid, refobjsubid) AS uses, deptype
            FROM pg_depend WHERE objid >= 16384) AS d
        WHERE object !~ 'toast'""",
    "pg_shdepend": """
        SELECT to_jsonb(d) FROM (
            SELECT pg_describe_object(classid, objid, objsubid) AS object, refobjid::regrole::text AS role, deptype
            FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
            AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) AS d""",
    "sequences": """
        SELECT jsonb_build_array(s.oid::regclass::text, pg_describe_object(refclassid, refobjid, refobjsubid))
        FROM pg_class s LEFT JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass
        AND d.deptype = 'a' WHERE relkind = 'S'""",
}
