"""PostgreSQL's catalogue by names instead of oids, so that an object that was made anew is equal to the old one."""

from __future__ import annotations

import json

import asyncpg
import psycopg


def read_catalogue(dsn: str) -> dict[str, list[str]]:
    """All that the catalogue says about all schemas but cd2."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET search_path = pg_catalog")
        return {
            name: sorted(json.dumps(row[0], sort_keys=True) for row in connection.execute(query))
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
